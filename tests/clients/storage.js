'use strict';
// Goal: @google-cloud/storage, unmodified, finds in localcloud what it finds at Google. Method: the
// address is STORAGE_EMULATOR_HOST, or LOCALCLOUD with the client's apiEndpoint option.

const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const zlib = require('zlib');
const {IdempotencyStrategy, Storage} = require('@google-cloud/storage');
const {check, errorOf, run} = require('./check.js');

const address = process.env.LOCALCLOUD;
const way = process.env.STORAGE_EMULATOR_HOST ? 'emulator_host' : 'endpoint';
const options = {projectId: 'p', retryOptions: {maxRetries: 4, retryDelayMultiplier: 1.1, maxRetryDelay: 1}};
if (!process.env.STORAGE_EMULATOR_HOST) options.apiEndpoint = address;
const storage = new Storage(options);
const bucket = storage.bucket('clients-' + way.replace('_', '-'));
const name = s => `storage_${way}_${s}`;
const ok = (s, passed, detail) => check(name(s), passed, detail);

async function fault(spec) {
  const answer = await fetch(address + '/localcloud/faults', {
    method: 'POST',
    body: JSON.stringify(Object.assign({service: 'storage'}, spec)),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

const clearFaults = () => fetch(address + '/localcloud/faults', {method: 'DELETE'});

async function buckets() {
  await bucket.create();
  ok('bucket_create', true);
  ok('bucket_exists', (await bucket.exists())[0] && !(await storage.bucket('none-here').exists())[0]);
  const [again] = [await errorOf(bucket.create())];
  ok('bucket_twice_409', again && again.code === 409, again);
  const [list] = await storage.getBuckets();
  ok('bucket_list', list.some(b => b.name === bucket.name));
  const [meta] = await bucket.getMetadata();
  ok('bucket_metadata', meta.name === bucket.name && meta.kind === 'storage#bucket', meta);
}

async function simple() {
  const file = bucket.file('dir/a b+c é.txt');
  await file.save('hello world', {resumable: false, contentType: 'text/plain', metadata: {metadata: {k: 'v'}}});
  const [meta] = await file.getMetadata();
  ok('simple_metadata', meta.crc32c === 'yZRlqg==' && meta.md5Hash === 'XrY7u+Ae7tCTyyK7j1rNww==' &&
    meta.metadata.k === 'v' && meta.contentType === 'text/plain' && meta.size === '11', meta);
  ok('simple_download', (await file.download())[0].toString() === 'hello world');
  ok('simple_exists', (await file.exists())[0] && !(await bucket.file('none').exists())[0]);
  const missing = await errorOf(bucket.file('none').download());
  ok('simple_missing_404', missing && missing.code === 404, String(missing));
  const [part] = await file.download({start: 6, end: 8});
  ok('simple_range', part.toString() === 'wor', part.toString());
  for (const validation of ['md5', 'crc32c']) {
    await file.save('checked ' + validation, {resumable: false, validation});
    ok('simple_checked_' + validation, (await file.download({validation}))[0].toString() === 'checked ' + validation);
  }
}

async function resumable() {
  const data = crypto.randomBytes(1_500_000);
  const one = bucket.file('resumable/one');
  await one.save(data, {resumable: true, contentType: 'application/x-test', metadata: {metadata: {plan: '7'}}});
  const [meta] = await one.getMetadata();
  ok('resumable_one_request', (await one.download())[0].equals(data) && meta.contentType === 'application/x-test' &&
    meta.metadata.plan === '7', meta);
  const chunks = bucket.file('resumable/chunks');
  await chunks.save(data, {resumable: true, chunkSize: 262144});
  ok('resumable_chunks', (await chunks.download())[0].equals(data));
  const exact = bucket.file('resumable/exact');
  await exact.save(data.subarray(0, 524288), {resumable: true, chunkSize: 262144});
  ok('resumable_chunk_boundary', (await exact.download())[0].equals(data.subarray(0, 524288)));
  const empty = bucket.file('resumable/empty');
  await empty.save('', {resumable: true});
  ok('resumable_empty', (await empty.getMetadata())[0].size === '0');
  const [uri] = await bucket.file('resumable/uri').createResumableUpload({metadata: {contentType: 'text/x'}});
  await bucket.file('resumable/uri').save('by uri', {resumable: true, uri});
  ok('resumable_given_uri', (await bucket.file('resumable/uri').download())[0].toString() === 'by uri');
  const local = path.join(os.tmpdir(), `clients-${process.pid}.json`);
  fs.writeFileSync(local, data);
  await bucket.upload(local, {destination: 'resumable/file.json', resumable: true});
  fs.unlinkSync(local);
  const [uploaded] = await bucket.file('resumable/file.json').getMetadata();
  ok('resumable_local_file', uploaded.size === '1500000' && uploaded.contentType === 'application/json', uploaded);
}

// A client of its own that retries everything: the other has switched its retries off by now, as an
// upload without a precondition does.
async function underFault(what, spec) {
  const data = crypto.randomBytes(1_300_000);
  const retries = {idempotencyStrategy: IdempotencyStrategy.RetryAlways, ...options.retryOptions};
  const file = new Storage({...options, retryOptions: retries}).bucket(bucket.name).file('faults/' + what);
  await fault(spec);
  const how = {resumable: true, chunkSize: 524288, preconditionOpts: {ifGenerationMatch: 0}};
  const error = await errorOf(file.save(data, how));
  await clearFaults();
  const same = (await file.exists())[0] && (await file.download())[0].equals(data);
  return {error, same};
}

async function resumableFaults() {
  const put = {method: 'PUT', path_contains: 'upload_id='};
  const partial = await underFault('partial', {persist_bytes: 262144, count: 1});
  ok('resumable_partial_308', !partial.error && partial.same, String(partial.error));
  const busy = await underFault('busy', {...put, status: 503, count: 1});
  ok('resumable_503', !busy.error && busy.same, String(busy.error));
  const cut = await underFault('cut', {...put, reset: true, skip: 1, count: 1});
  ok('resumable_reset', !cut.error && cut.same, String(cut.error));
  const lost = await underFault('lost', {...put, lose_answer: true, skip: 2, count: 1});
  // This client takes the answer 200 to its status query for "nothing persisted" and gives up.
  ok('resumable_lost_final_answer_stored', lost.same, String(lost.error));
  const gone = await underFault('gone', {drop_session: 410, skip: 1, count: 1});
  ok('resumable_gone_410', gone.error && (gone.error.code === 410 || gone.error.status === 410), String(gone.error));
}

async function gzip() {
  const text = 'line of text\n'.repeat(20000);
  for (const way of [false, true]) {
    const file = bucket.file('gzip/' + way);
    await file.save(text, {gzip: true, resumable: way, contentType: 'text/plain'});
    const [meta] = await file.getMetadata();
    ok(`gzip_stored_${way}`, meta.contentEncoding === 'gzip' && Number(meta.size) < 10000, meta);
    ok(`gzip_download_${way}`, (await file.download())[0].toString() === text);
    const [raw] = await file.download({decompress: false});
    ok(`gzip_raw_${way}`, zlib.gunzipSync(raw).toString() === text);
  }
}

async function listing() {
  const names = [];
  for (let i = 0; i < 25; i++) names.push(`list/${String(i).padStart(3, '0')}`);
  await Promise.all(names.map(n => bucket.file(n).save('x', {resumable: false})));
  const [all] = await bucket.getFiles({prefix: 'list/'});
  ok('list_all', JSON.stringify(all.map(f => f.name)) === JSON.stringify(names), all.map(f => f.name));
  const seen = [];
  let query = {prefix: 'list/', maxResults: 7, autoPaginate: false};
  let pages = 0;
  while (query) {
    const [files, next] = await bucket.getFiles(query);
    files.forEach(f => seen.push(f.name));
    query = next;
    pages++;
  }
  ok('list_pages', pages === 4 && JSON.stringify(seen) === JSON.stringify(names), {pages, seen});
  const [, , answer] = await bucket.getFiles({delimiter: '/', autoPaginate: false});
  ok('list_delimiter', answer.prefixes.includes('list/') && answer.prefixes.includes('gzip/'), answer.prefixes);
}

async function conditions() {
  const file = bucket.file('cond');
  const once = {resumable: false, preconditionOpts: {ifGenerationMatch: 0}};
  await file.save('1', once);
  const second = await errorOf(file.save('2', once));
  ok('create_once_412', second && second.code === 412, String(second));
  const late = await errorOf(file.save('2', {resumable: true, preconditionOpts: {ifGenerationMatch: 0}}));
  ok('create_once_resumable_412', late && late.status === 412, String(late));
  const generation = Number((await file.getMetadata())[0].generation);
  const exact = await errorOf(file.save('2', {resumable: false, preconditionOpts: {ifGenerationMatch: generation}}));
  ok('overwrite_exact', exact === null && (await file.download())[0].toString() === '2', String(exact));
  const stale = await errorOf(file.delete({ifGenerationMatch: generation}));
  ok('delete_stale_412', stale && stale.code === 412, String(stale));
  const old = await errorOf(bucket.file('cond', {generation}).getMetadata());
  ok('old_generation_404', old && old.code === 404, String(old));
  const [patched] = await file.setMetadata({metadata: {a: '1', b: '2'}, contentType: 'text/y'}, {ifMetagenerationMatch: 1});
  ok('patch', patched.metageneration === '2' && patched.metadata.b === '2' && patched.contentType === 'text/y', patched);
  const [merged] = await file.setMetadata({metadata: {a: null}});
  ok('patch_null', JSON.stringify(merged.metadata) === '{"b":"2"}', merged.metadata);
  const behind = await errorOf(file.setMetadata({metadata: {}}, {ifMetagenerationMatch: 1}));
  ok('patch_stale_412', behind && behind.code === 412, String(behind));
  await file.delete();
  const twice = await errorOf(file.delete());
  ok('delete_404', twice && twice.code === 404, String(twice));
  await file.delete({ignoreNotFound: true});
}

async function composing() {
  const parts = ['x', 'y', 'z'].map(n => bucket.file('part/' + n));
  for (const part of parts) await part.save(part.name + '\n', {resumable: false, contentType: 'text/plain'});
  const whole = bucket.file('composed.txt');
  await bucket.combine(parts, whole);
  const [meta] = await whole.getMetadata();
  ok('compose', meta.componentCount === 3 && !meta.md5Hash && meta.contentType === 'text/plain', meta);
  ok('compose_bytes', (await whole.download({validation: 'crc32c'}))[0].toString() === 'part/x\npart/y\npart/z\n');
  const missing = await errorOf(bucket.combine([parts[0], bucket.file('part/none')], whole));
  ok('compose_missing_404', missing && missing.code === 404, String(missing));
}

async function copying() {
  const data = crypto.randomBytes(2_500_000);
  const from = bucket.file('copy/from');
  await from.save(data, {resumable: false, contentType: 'text/from', metadata: {metadata: {m: '1'}}});
  const [to] = await from.copy(bucket.file('copy/to'));
  const [meta] = await to.getMetadata();
  ok('copy', (await to.download())[0].equals(data) && meta.contentType === 'text/from' && meta.metadata.m === '1', meta);
  const far = storage.bucket(bucket.name + '-far');
  await far.create({location: 'EU'});
  const [, rewrite] = await from.copy(far.file('copy/far'), {contentType: 'text/far'});
  ok('copy_in_steps', (await far.file('copy/far').download())[0].equals(data), rewrite);
  const clash = await errorOf(from.copy(bucket.file('copy/to'), {preconditionOpts: {ifGenerationMatch: 0}}));
  ok('copy_create_once_412', clash && clash.code === 412, String(clash));
  await from.move('copy/moved');
  ok('move', (await bucket.file('copy/moved').exists())[0] && !(await from.exists())[0]);
  await bucket.deleteFiles({prefix: 'copy/', force: false});
  ok('delete_files', (await bucket.getFiles({prefix: 'copy/'}))[0].length === 0);
}

run('storage_' + way, [buckets, simple, resumable, resumableFaults, gzip, listing, conditions, composing, copying]);
