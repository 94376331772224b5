// Printing objects from the command line, beside a running server or not.
#ifndef LOCALCLOUD_CAT_H
#define LOCALCLOUD_CAT_H

/**
 * Prints the bytes of every object whose address begins with url (gs://BUCKET/PREFIX), in name
 * order, gzip unpacked. Thread: main.
 * @return the exit status: 0; 1 when something cannot be read; 2 when url is none.
 */
int lc_cat(const char *data_dir, const char *url);

#endif
