// The Node.js binding end to end: a loss, built encoders, a trainer, saving, loading, embedding on other threads, k-NN.
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const mio = require('../../bindings/node');

const COUNT = 64;
const SIZE = 12;

/** Horizontal stripes are class 0, vertical ones class 1. */
function stripes() {
  const images = new Uint8Array(COUNT * SIZE * SIZE);
  for (let i = 0; i < COUNT; i++)
    for (let y = 0; y < SIZE; y++)
      for (let x = 0; x < SIZE; x++)
        images[(i * SIZE + y) * SIZE + x] = ((i % 2 ? x : y) + (i >> 1)) % 4 < 2 ? 200 + (i % 50) : 20 + (i % 30);
  return { count: COUNT, height: SIZE, width: SIZE, channels: 1, images, labels: Int32Array.from({ length: COUNT }, (_, i) => i % 2) };
}

function refused(call, code, words) {
  assert.throws(call, (error) => {
    assert.strictEqual(error.code, code, error.message);
    assert.ok(error.message.includes(words), error.message);
    return true;
  });
}

function testLoss(context) {
  const z1 = Float64Array.of(1, 0.5, -0.25, 1, 0.125, 2);
  const z2 = Float64Array.of(0.5, 1, 0.25, -1, 1, 0.75);
  const loss = new mio.Loss(context, 'mio', { positive_temperature: 0.3, reduction: 'pooled' });
  assert.deepStrictEqual([loss.get('positive_temperature'), loss.get('reduction')], [0.3, 1]);
  const gradient = new Float64Array(6);
  const value = loss.compute(3, 2, z1, z2, [gradient, null]);
  const nudged = z1.slice();
  nudged[0] += 1e-6;
  const up = loss.compute(3, 2, nudged, z2);
  nudged[0] -= 2e-6;
  assert.ok(Math.abs((up - loss.compute(3, 2, nudged, z2)) / 2e-6 - gradient[0]) < 1e-7);
  assert.ok(Math.abs(loss.compute(3, 2, Float32Array.from(z1), Float32Array.from(z2)) - value) < 1e-5);
  refused(() => loss.compute(3, 3, z1, z2), 'MIO_ERROR_ARGUMENT', 'another length');
  refused(() => loss.compute(3, 2, z1, Float32Array.from(z2)), 'MIO_ERROR_ARGUMENT', 'another type');
  refused(() => loss.compute(3, 2, z1, Float64Array.of(NaN, 1, 0.25, -1, 1, 0.75)), 'MIO_ERROR_ARGUMENT', 'z2[0][0] is NaN');
  refused(() => loss.compute(-1, 2, z1, z2), 'MIO_ERROR_ARGUMENT', 'whole number');
  refused(() => loss.set('temprature', 1), 'MIO_ERROR_ARGUMENT', 'temprature');
  assert.throws(() => new mio.Loss({}, 'mio'), /a Context is expected/);
  assert.throws(() => mio.Loss.prototype.compute.call(context, 3, 2, z1, z2), /a Loss is expected/);
  assert.ok(mio.Loss.names().length >= 18 && mio.Loss.names().includes('nt_xent'));
  const supcon = new mio.Loss(context, 'supcon');
  const plain = supcon.compute(3, 2, z1, z2);
  supcon.setLabels(Int32Array.of(0, 1, 0));
  assert.notStrictEqual(supcon.compute(3, 2, z1, z2), plain);
  supcon.setLabels();
  assert.strictEqual(supcon.compute(3, 2, z1, z2), plain);
  const sogclr = new mio.Loss(context, 'sogclr');
  refused(() => sogclr.compute(3, 2, z1, z2), 'MIO_ERROR_STATE', 'indices');
  sogclr.setBatch({ indices: [4, 0, 2] });
  assert.ok(Number.isFinite(sogclr.compute(3, 2, z1, z2)));
  assert.throws(() => sogclr.setBatch({ indices: [-1, 0, 2] }), RangeError);
}

/** Closed objects refuse, and their memory comes back without the collector. */
function testClosing(context) {
  const loss = new mio.Loss(context, 'mio');
  loss.close();
  loss.close();
  refused(() => loss.get('l2_weight'), 'MIO_ERROR_ARGUMENT', 'closed');
  const images = new Uint8Array(20 << 20);
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 40; i++) mio.Dataset.fromImages(context, { count: 20, height: 1024, width: 1024, channels: 1, images }).close();
  assert.ok(process.memoryUsage().rss - before < 300 << 20, 'memory of closed datasets');
}

function testBuilder(context) {
  const b = new mio.Builder(context, 1, 8, 8);
  let x = b.relu(b.batchNorm(b.conv2d(b.input(), 8, 3, 1, 1)));
  x = b.maxPool(x, 2, 2, 0);
  const features = b.globalAveragePool(b.add(x, x));
  const encoder = b.finish(features, b.linear(features, 5, true));
  assert.deepStrictEqual(encoder.facts, { featureDim: 8, projectionDim: 5, channels: 1, height: 8, width: 8 });
  refused(() => encoder.embed({ count: 2, height: 8, width: 8, channels: 1, images: new Uint8Array(64) }), 'MIO_ERROR_ARGUMENT', 'length');
  refused(() => encoder.embed({ count: 2, height: 8, width: 0, channels: 1, images: new Uint8Array(0) }), 'MIO_ERROR_ARGUMENT', 'no pixels');
  refused(() => encoder.embed({ count: 1, height: 8, width: 8, channels: 3, images: Buffer.alloc(192) }), 'MIO_ERROR_ARGUMENT', 'channel');
  const r = new mio.Builder(context, 3, 32, 32);
  const h = r.resnet(r.input(), 18, 8, mio.STEM_SMALL);
  const resnet = r.finish(h, r.projector(h, 2, 16, 8)).set('algorithm', 'exact').set('batch_invariant', true);
  assert.deepStrictEqual([resnet.facts.featureDim, resnet.get('algorithm'), resnet.get('batch_invariant')], [64, 0, 1]);
  const wrong = new mio.Builder(context, 3, 32, 32);
  refused(() => wrong.finish(wrong.add(wrong.conv2d(wrong.input(), 0, 3, 1, 1), -1)), 'MIO_ERROR_ARGUMENT', 'channels');
  refused(() => wrong.resnet(0, 2 ** 40, 8, 1), 'MIO_ERROR_ARGUMENT', '2^31');
  const unpadded = new mio.Builder(context, 3, 32, 32);
  refused(() => unpadded.finish(unpadded.resnet(unpadded.input(), 18, 8, 3)), 'MIO_ERROR_ARGUMENT', 'stem is 0, 1 or 2');
  const heads = new mio.Builder(context, 1, 8, 8);
  const pooled = heads.globalAveragePool(heads.name('first').conv2d(heads.input(), 8, 3, 1, 1));
  const projected = heads.mlp(pooled, 2, 16, 6, mio.NORM_AFFINE, mio.NORM_NONE);
  assert.strictEqual(heads.finish(pooled, projected, heads.predictor(projected, 2, 4, 6)).facts.projectionDim, 6);
  assert.throws(() => encoder.embed({ count: 2 ** 50, height: 8, width: 8, channels: 1, images: new Uint8Array(64) }), RangeError);
  assert.throws(() => new mio.Encoder(), /Encoder.load/);
}

async function testTraining(context, folder) {
  const scene = stripes();
  const recipe = new mio.Recipe(context, 'mio-tiny', { 'encoder.base_width': 4, 'loader.batch_size': 16, 'trainer.steps': 8 });
  const dataset = mio.Dataset.fromImages(context, scene);
  assert.deepStrictEqual([dataset.length, dataset.classes, dataset.label(3)], [COUNT, 2, 1]);
  assert.deepStrictEqual([dataset.subset([5, 2]).label(0), dataset.className(0)], [1, null]);
  refused(() => dataset.imageName(0), 'MIO_ERROR_UNSUPPORTED', 'name');
  const trainer = recipe.build(dataset);
  const losses = [];
  for (let step = 1; step <= 8; step++) {
    const report = trainer.step();
    assert.deepStrictEqual([report.step, report.totalSteps], [step, 8]);
    losses.push(report.loss);
    if (step === 3) trainer.save(path.join(folder, 'run.mio'));
  }
  const resumed = recipe.build(dataset);
  resumed.restore(path.join(folder, 'run.mio'));
  assert.strictEqual(resumed.stepsDone, 3);
  const underStep = resumed.stepAsync();
  for (const busy of [() => resumed.step(), () => resumed.set('epochs', 3), () => resumed.encoder.embed(scene), () => resumed.close(),
    () => resumed.encoder.save(path.join(folder, 'torn.mio'))])
    assert.throws(busy, /being trained/);
  assert.throws(() => context.set('threads', 1), /another thread/);
  assert.strictEqual((await underStep).loss, losses[3]);
  for (const loss of losses.slice(4)) assert.strictEqual(resumed.step().loss, loss);
  const features = trainer.encoder.embedDataset(dataset);
  assert.deepStrictEqual(resumed.encoder.embedDataset(dataset), features);

  trainer.encoder.save(path.join(folder, 'encoder.mio'));
  const encoder = mio.Encoder.load(context, path.join(folder, 'encoder.mio'));
  assert.deepStrictEqual(encoder.embed(scene), features);
  const underWay = [1, 2, 3, 4].map(() => encoder.embedAsync(scene));
  assert.throws(() => encoder.set('algorithm', 'exact'), /embedding/);
  for (const found of await Promise.all(underWay)) assert.deepStrictEqual(found, features);
  encoder.set('algorithm', 'exact');
  trainer.encoder.close();
  assert.strictEqual(trainer.encoder.facts.featureDim, encoder.facts.featureDim); // the trainer's own goes on
  const later = trainer.encoder.embedAsync(scene);
  assert.throws(() => trainer.step(), /embedding/);
  assert.ok(new mio.Context({ threads: 1 }));
  await later;
  await assert.rejects(encoder.embedAsync({ ...scene, channels: 3, width: SIZE / 3 }), { code: 'MIO_ERROR_ARGUMENT' });
  refused(() => mio.Encoder.load(context, path.join(folder, 'absent.mio')), 'MIO_ERROR_IO', 'absent.mio');

  const dim = encoder.facts.featureDim;
  const knn = new mio.Knn(context, { k: 3 });
  refused(() => knn.predict(dim, features), 'MIO_ERROR_STATE', 'mio_knn_fit');
  knn.fit(dim, features, scene.labels);
  assert.deepStrictEqual(knn.predict(dim, features), scene.labels);
  const { indices, similarities } = knn.search(dim, features.slice(0, dim), 2);
  assert.ok(indices.length === 2 && similarities[0] >= similarities[1] && similarities[0] > 0.99);
  refused(() => knn.search(dim, features, 1000), 'MIO_ERROR_ARGUMENT', 'neighbours');
  assert.throws(() => knn.search(dim, features, 1e12), RangeError);
  assert.deepStrictEqual(new mio.Probe(context).fit(dim, features, scene.labels).predict(dim, features), scene.labels);
  assert.throws(() => knn.fit(dim, features.slice(1)), /no rows/);
}

async function main() {
  assert.match(mio.version(), /^\d+\.\d+\.\d+$/);
  const context = new mio.Context({ threads: 2, seed: 3 });
  assert.ok(['avx512', 'avx2', 'generic'].includes(context.target));
  refused(() => new mio.Context({ threads: -1 }), 'MIO_ERROR_ARGUMENT', 'threads');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mio-node-'));
  testLoss(context);
  testBuilder(context);
  testClosing(context);
  const { STEM_SMALL } = await import('../../bindings/node/index.js');
  assert.strictEqual(STEM_SMALL, 1);
  await testTraining(context, folder);
  fs.rmSync(folder, { recursive: true });
  console.log('100%: the Node.js binding');
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
