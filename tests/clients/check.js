'use strict';
// One line a check: "ok NAME" or "FAIL NAME detail". The exit status is 1 when one failed.

let failures = 0;

function check(name, ok, detail) {
  if (!ok) failures++;
  const text = detail === undefined ? '' : '  ' + (typeof detail === 'string' ? detail : JSON.stringify(detail));
  console.log((ok ? 'ok ' : 'FAIL ') + name + (ok ? '' : text.slice(0, 600)));
}

/** The error that promise ends with; null when it succeeds. */
async function errorOf(promise) {
  try {
    await promise;
    return null;
  } catch (e) {
    return e;
  }
}

/** Runs the sections in turn; one that throws is a failed check and does not stop the others. */
async function run(prefix, sections) {
  for (const section of sections) {
    try {
      await section();
    } catch (e) {
      check(prefix + '_' + section.name, false, e && e.stack ? e.stack : String(e));
    }
  }
  process.exit(failures ? 1 : 0);
}

module.exports = {check, errorOf, run};
