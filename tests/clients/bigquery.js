'use strict';
// Goal: @google-cloud/bigquery, unmodified, finds in localcloud what it finds at Google. Method: the
// address is BIGQUERY_EMULATOR_HOST (used without /bigquery/v2), or LOCALCLOUD with apiEndpoint.

const fs = require('fs');
const os = require('os');
const path = require('path');
const {BigQuery} = require('@google-cloud/bigquery');
const {OAuth2Client} = require('google-auth-library');
const {Storage} = require('@google-cloud/storage');
const {check, errorOf, run} = require('./check.js');

const address = process.env.LOCALCLOUD;
const way = process.env.BIGQUERY_EMULATOR_HOST ? 'emulator_host' : 'endpoint';
// Without any credentials this client cannot upload a local file: it fails before it sends something.
const authClient = new OAuth2Client();
authClient.setCredentials({access_token: 'local'});
const options = {projectId: 'p', authClient};
if (!process.env.BIGQUERY_EMULATOR_HOST) options.apiEndpoint = address;
const bigquery = new BigQuery(options);
const dataset = bigquery.dataset('clients_' + way);
const ok = (s, passed, detail) => check(`bigquery_${way}_${s}`, passed, detail);

const schema = {
  fields: [
    {name: 'id', type: 'INTEGER', mode: 'REQUIRED'},
    {name: 'text', type: 'STRING'},
    {name: 'at', type: 'TIMESTAMP'},
    {name: 'tags', type: 'STRING', mode: 'REPEATED'},
    {name: 'place', type: 'RECORD', fields: [{name: 'city', type: 'STRING'}, {name: 'lat', type: 'FLOAT'}]},
    {name: 'extra', type: 'JSON'},
  ],
};

async function fault(spec) {
  const answer = await fetch(address + '/localcloud/faults', {
    method: 'POST',
    body: JSON.stringify(Object.assign({service: 'bigquery'}, spec)),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

const clearFaults = () => fetch(address + '/localcloud/faults', {method: 'DELETE'});

async function count(table) {
  const [rows] = await dataset.query(`SELECT COUNT(*) AS n FROM ${dataset.id}.${table}`);
  return rows[0].n;
}

async function datasets() {
  await dataset.create({location: 'US', labels: {team: 'a'}});
  const again = await errorOf(dataset.create());
  ok('dataset_twice_409', again && again.code === 409, String(again));
  const [meta] = await dataset.getMetadata();
  ok('dataset_get', meta.datasetReference.datasetId === dataset.id && meta.location === 'US' &&
    meta.labels.team === 'a', meta);
  ok('dataset_exists', (await dataset.exists())[0] && !(await bigquery.dataset('none').exists())[0]);
  await dataset.setMetadata({description: 'changed'});
  ok('dataset_patch', (await dataset.getMetadata())[0].description === 'changed');
  const [list] = await bigquery.getDatasets();
  ok('dataset_list', list.some(d => d.id === dataset.id), list.map(d => d.id));
}

async function tables() {
  const [table] = await dataset.createTable('t', {
    schema, timePartitioning: {type: 'DAY', field: 'at'}, clustering: {fields: ['text']}, labels: {a: 'b'},
  });
  const [meta] = await table.getMetadata();
  ok('table_get', meta.schema.fields.length === 6 && meta.timePartitioning.field === 'at' && meta.numRows === '0' &&
    meta.clustering.fields[0] === 'text', meta);
  const again = await errorOf(dataset.createTable('t', {schema}));
  ok('table_twice_409', again && again.code === 409, String(again));
  const wider = {fields: meta.schema.fields.concat([{name: 'added', type: 'STRING'}])};
  const [patched] = await table.setMetadata({schema: wider, description: 'wider'});
  ok('table_patch', patched.schema.fields.length === 7 && patched.description === 'wider', patched);
  const narrower = await errorOf(table.setMetadata({schema: {fields: meta.schema.fields.slice(1)}}));
  ok('table_drop_column_400', narrower && narrower.code === 400, String(narrower));
  const stale = await errorOf(table.setMetadata({etag: meta.etag, description: 'late'}));
  ok('table_stale_etag_412', stale && stale.code === 412, String(stale));
  await dataset.createTable('u', {schema: 'a:integer, b:string'});
  const [list] = await dataset.getTables();
  ok('table_list', list.map(t => t.id).sort().join() === 't,u', list.map(t => t.id));
  ok('table_exists', (await table.exists())[0] && !(await dataset.table('none').exists())[0]);
}

async function inserts() {
  const table = dataset.table('t');
  const now = new Date();
  await table.insert([
    {id: 1, text: 'one', at: BigQuery.timestamp(now), tags: ['a', 'b'], place: {city: 'Bonn', lat: 50.7}, extra: '{"x":[1]}'},
    {id: 2, text: 'two', at: now.toISOString()},
  ]);
  const [rows] = await table.getRows();
  ok('insert_rows', rows.length === 2 && rows[0].id === 1 && rows[0].tags.join() === 'a,b' &&
    rows[0].place.city === 'Bonn' && rows[0].place.lat === 50.7, rows);
  ok('insert_timestamp', Math.abs(new Date(rows[0].at.value) - now) < 1, rows[0].at);
  const bad = [{id: 3}, {id: 'x'}, {id: 4, surprise: 1}];
  const failed = await errorOf(table.insert(bad, {partialRetries: 0}));
  const reasons = failed && failed.errors.map(e => e.errors[0].reason).join();
  ok('insert_errors', failed && failed.name === 'PartialFailureError' && reasons === 'stopped,invalid,invalid', failed);
  ok('insert_error_message', failed.errors[2].errors[0].message === 'no such field: surprise.', failed.errors[2]);
  ok('insert_none_on_error', (await count('t')) === 2);
  const skipped = await errorOf(table.insert(bad, {skipInvalidRows: true, partialRetries: 0}));
  ok('insert_skip_invalid', skipped.errors.length === 2 && (await count('t')) === 3, skipped.errors);
  await table.insert([{id: 5, surprise: 1}], {ignoreUnknownValues: true});
  const raw = [{insertId: 'same', json: {id: 6}}];
  await table.insert(raw, {raw: true});
  await table.insert(raw, {raw: true});
  ok('insert_id_once', (await count('t')) === 5, await count('t'));
  await fault({row_reason: 'backendError', count: 1});
  const refused = await errorOf(table.insert([{id: 7}], {partialRetries: 0}));
  ok('insert_fault_reason', refused.errors[0].errors[0].reason === 'backendError', refused.errors);
  await fault({row_reason: 'stopped', count: 1});
  await table.insert([{id: 7}]);
  ok('insert_retried_by_client', (await count('t')) === 6);
  await clearFaults();
  const old = await errorOf(table.insert([{id: 8, at: '2001-01-01 00:00:00'}], {partialRetries: 0}));
  ok('insert_old_partition', old && /outside the allowed bounds/.test(old.errors[0].errors[0].message), old);
  const none = await errorOf(dataset.table('none').insert([{id: 1}]));
  ok('insert_missing_table_404', none && none.code === 404, String(none));
}

async function loads() {
  const storage = new Storage({projectId: 'p', apiEndpoint: address});
  const bucket = storage.bucket('loads-' + way.replace('_', '-'));
  await bucket.create();
  const lines = n => Array.from({length: 10}, (_, i) => JSON.stringify({a: n + i, b: 'r' + (n + i)}) + '\n').join('');
  const file = bucket.file('rows.json');
  await file.save(lines(0), {resumable: false, gzip: false});
  const table = dataset.table('u');
  const [job] = await table.load(file);
  ok('load_from_bucket', job.status.state === 'DONE' && job.statistics.load.outputRows === '10', job.status);
  const local = path.join(os.tmpdir(), `clients-${process.pid}.json`);
  fs.writeFileSync(local, lines(10));
  const [uploaded] = await table.load(local, {sourceFormat: 'NEWLINE_DELIMITED_JSON'});
  ok('load_local_file', uploaded.status.state === 'DONE' && uploaded.statistics.load.outputRows === '10', uploaded.status);
  const [created] = await dataset.table('fresh').load(local, {
    sourceFormat: 'NEWLINE_DELIMITED_JSON', writeDisposition: 'WRITE_TRUNCATE', schema: 'a:integer, b:string',
  });
  ok('load_creates_table', created.statistics.load.outputRows === '10' && (await count('fresh')) === 10);
  fs.writeFileSync(local, '{"a":"x"}\n');
  const bad = await errorOf(table.load(local, {sourceFormat: 'NEWLINE_DELIMITED_JSON'}));
  ok('load_error', bad && /Error while reading data/.test(bad.message), String(bad));
  fs.unlinkSync(local);
  const missing = await errorOf(table.load(bucket.file('none.json')));
  ok('load_missing_file', missing && /Not found/.test(missing.message), String(missing));
  await fault({job_reason: 'jobBackendError', count: 1});
  const failed = await errorOf(table.load(file));
  ok('load_fault_reason', failed && JSON.stringify(failed).includes('jobBackendError'), failed);
  await clearFaults();
  ok('load_rows', (await count('u')) === 20);
}

async function queries() {
  const sql = `SELECT a, b FROM \`p.${dataset.id}.u\` ORDER BY a`;
  const [rows] = await bigquery.query({query: sql});
  ok('query', rows.length === 20 && rows[3].b === 'r3', rows);
  const [job] = await bigquery.createQueryJob({query: sql});
  const [first, next] = await job.getQueryResults({maxResults: 7, autoPaginate: false});
  ok('query_page', first.length === 7 && next && next.pageToken, next);
  const [second] = await job.getQueryResults(next);
  ok('query_next_page', second.length === 7 && second[0].a === 7, second);
  const streamed = [];
  for await (const row of job.getQueryResultsStream({maxResults: 7})) streamed.push(row.a);
  ok('query_stream', streamed.length >= 7 && streamed.every((a, i) => a === i), streamed);
  const [all] = await job.getQueryResults();
  ok('query_all_pages', all.length === 20);
  const [wide] = await bigquery.query(`SELECT id, at, tags, place, extra FROM ${dataset.id}.t WHERE id = 1`);
  ok('query_nested', wide[0].place.city === 'Bonn' && wide[0].tags[1] === 'b' && wide[0].at.value.endsWith('Z'), wide);
  const bad = await errorOf(bigquery.query('SELECT nothing FROM ' + dataset.id + '.u'));
  ok('query_error', bad && bad.code === 400 && /Unrecognized name/.test(bad.message), String(bad));
  const [page, more] = await dataset.table('u').getRows({maxResults: 6, autoPaginate: false});
  ok('rows_page', page.length === 6 && more && more.pageToken, more);
  const [listed] = await dataset.table('u').getRows();
  ok('rows_all', listed.length === 20);
  const [jobs] = await bigquery.getJobs({maxResults: 3, autoPaginate: false});
  ok('jobs_list', jobs.length === 3);
  const [found] = await bigquery.job(job.id, {location: 'US'}).get();
  ok('job_get', found.metadata.status.state === 'DONE', found.metadata);
}

async function deletes() {
  await dataset.table('fresh').delete();
  ok('table_delete', !(await dataset.table('fresh').exists())[0]);
  const used = await errorOf(dataset.delete());
  ok('dataset_in_use_400', used && used.code === 400, String(used));
  await dataset.delete({force: true});
  ok('dataset_delete', !(await dataset.exists())[0]);
}

run('bigquery_' + way, [datasets, tables, inserts, loads, queries, deletes]);
