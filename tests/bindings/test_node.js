// The Node.js binding end to end: losses, the library's and JavaScript's own, built encoders, trainers by recipe and
// from parts, saving, loading, embedding on other threads, k-NN, fine-tuning, analysis.
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
  const labels = Int32Array.from({ length: COUNT }, (_, i) => i % 2);
  return { count: COUNT, height: SIZE, width: SIZE, channels: 1, images, labels };
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
  const gap = Float64Array.of(NaN, 1, 0.25, -1, 1, 0.75);
  refused(() => loss.compute(3, 2, z1, gap), 'MIO_ERROR_ARGUMENT', 'z2[0][0] is NaN');
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
  const large = { count: 20, height: 1024, width: 1024, channels: 1, images };
  for (let i = 0; i < 40; i++) mio.Dataset.fromImages(context, large).close();
  assert.ok(process.memoryUsage().rss - before < 300 << 20, 'memory of closed datasets');
}

function testBuilder(context) {
  const b = new mio.Builder(context, 1, 8, 8);
  let x = b.relu(b.batchNorm(b.conv2d(b.input(), 8, 3, 1, 1)));
  x = b.maxPool(x, 2, 2, 0);
  const features = b.globalAveragePool(b.add(x, x));
  const encoder = b.finish(features, b.linear(features, 5, true));
  assert.deepStrictEqual(encoder.facts, { featureDim: 8, projectionDim: 5, channels: 1, height: 8, width: 8 });
  const embed = (count, height, width, channels, images) => () =>
    encoder.embed({ count, height, width, channels, images });
  refused(embed(2, 8, 8, 1, new Uint8Array(64)), 'MIO_ERROR_ARGUMENT', 'length');
  refused(embed(2, 8, 0, 1, new Uint8Array(0)), 'MIO_ERROR_ARGUMENT', 'no pixels');
  refused(embed(1, 8, 8, 3, Buffer.alloc(192)), 'MIO_ERROR_ARGUMENT', 'channel');
  const r = new mio.Builder(context, 3, 32, 32);
  const h = r.resnet(r.input(), 18, 8, mio.STEM_SMALL);
  const resnet = r.finish(h, r.projector(h, 2, 16, 8)).set('algorithm', 'exact').set('batch_invariant', true);
  assert.deepStrictEqual([resnet.facts.featureDim, resnet.get('algorithm'), resnet.get('batch_invariant')], [64, 0, 1]);
  const wrong = new mio.Builder(context, 3, 32, 32);
  refused(() => wrong.finish(wrong.add(wrong.conv2d(wrong.input(), 0, 3, 1, 1), -1)), 'MIO_ERROR_ARGUMENT', 'channels');
  refused(() => wrong.resnet(0, 2 ** 40, 8, 1), 'MIO_ERROR_ARGUMENT', '2^31');
  const unpadded = new mio.Builder(context, 3, 32, 32);
  const unstemmed = unpadded.resnet(unpadded.input(), 18, 8, 3);
  refused(() => unpadded.finish(unstemmed), 'MIO_ERROR_ARGUMENT', 'stem is 0, 1 or 2');
  const heads = new mio.Builder(context, 1, 8, 8);
  const pooled = heads.globalAveragePool(heads.name('first').conv2d(heads.input(), 8, 3, 1, 1));
  const projected = heads.mlp(pooled, 2, 16, 6, mio.NORM_AFFINE, mio.NORM_NONE);
  assert.strictEqual(heads.finish(pooled, projected, heads.predictor(projected, 2, 4, 6)).facts.projectionDim, 6);
  assert.throws(embed(2 ** 50, 8, 8, 1, new Uint8Array(64)), RangeError);
  assert.throws(() => new mio.Encoder(), /Encoder.load/);
}

async function testTraining(context, folder) {
  const scene = stripes();
  const choices = { 'encoder.base_width': 4, 'loader.batch_size': 16, 'trainer.steps': 8 };
  const recipe = new mio.Recipe(context, 'mio-tiny', choices);
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
  for (const busy of [() => resumed.step(), () => resumed.set('epochs', 3), () => resumed.encoder.embed(scene),
    () => resumed.close(), () => resumed.encoder.save(path.join(folder, 'torn.mio'))])
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

// ---- losses of JavaScript's own ----

/** Half the squared distance of the views. */
function halfSquare(pairs, dim, z1, z2, gradZ1, gradZ2) {
  let value = 0;
  for (let i = 0; i < pairs * dim; i++) {
    const apart = z1[i] - z2[i];
    value += 0.5 * apart * apart;
    if (gradZ1) gradZ1[i] = apart;
    if (gradZ2) gradZ2[i] = -apart;
  }
  return value;
}

/** NT-Xent by its definition: the mean over all 2 pairs rows of the cross-entropy of finding their positive. */
function ntXent(temperature) {
  return (pairs, dim, z1, z2, gradZ1, gradZ2) => {
    const count = 2 * pairs, places = Array.from({ length: count }, (_, i) => i);
    const row = (i) => (i < pairs ? z1 : z2).subarray((i % pairs) * dim, (i % pairs + 1) * dim);
    const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
    const lengths = places.map((i) => Math.sqrt(dot(row(i), row(i))));
    const units = places.map((i) => Float64Array.from(row(i), (value) => value / lengths[i]));
    const slopes = units.map(() => new Float64Array(dim));
    let value = 0;
    for (const i of places) {
      const logits = units.map((other) => dot(units[i], other) / temperature);
      const sum = places.reduce((all, j) => all + (j === i ? 0 : Math.exp(logits[j])), 0);
      const positive = (i + pairs) % count;
      value += (Math.log(sum) - logits[positive]) / count;
      for (const j of places)
        for (let k = 0; k < dim && j !== i; k++) {
          const slope = (Math.exp(logits[j]) / sum - (j === positive)) / count / temperature;
          slopes[i][k] += slope * units[j][k];
          slopes[j][k] += slope * units[i][k];
        }
    }
    for (const i of places) {
      const gradient = i < pairs ? gradZ1 : gradZ2, along = dot(slopes[i], units[i]);
      for (let k = 0; k < dim && gradient; k++)
        gradient[(i % pairs) * dim + k] = (slopes[i][k] - along * units[i][k]) / lengths[i];
    }
    return value;
  };
}

/** Numbers around 0 that are the same every time. */
function random(count, Type = Float64Array, seed = 1) {
  let state = seed;
  return Type.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function near(found, expected, tolerance) {
  assert.strictEqual(found.length, expected.length);
  found.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) <= tolerance, `${value} is not ${expected[i]}`));
}

function testCustom(context) {
  const [pairs, dim] = [5, 3], [z1, z2] = [random(15), random(15, Float64Array, 2)];
  const library = new mio.Loss(context, 'nt_xent', { temperature: 0.4 });
  const own = mio.Loss.custom(context, 'own', ntXent(0.4));
  assert.deepStrictEqual([library.name, own.name], ['nt_xent', 'own']);
  for (const [Type, tolerance] of [[Float64Array, 1e-14], [Float32Array, 1e-6]]) {
    const rows = [Type.from(z1), Type.from(z2)];
    const [expected, found] = [1, 2].map(() => [new Type(15), new Type(15)]);
    const value = library.compute(pairs, dim, ...rows, expected);
    assert.ok(Math.abs(own.compute(pairs, dim, ...rows, found) - value) < tolerance);
    near(found[0], expected[0], tolerance);
    near(found[1], expected[1], tolerance);
  }

  const seen = [];
  const curious = mio.Loss.custom(context, 'curious', (...given) => {
    seen.push(given);
    given[2].fill(7); // a copy
    return 3;
  });
  const kept = z1.slice();
  assert.strictEqual(curious.compute(pairs, dim, z1, z2, [null, new Float64Array(15)]), 3);
  assert.deepStrictEqual(seen[0].slice(4), [null, new Float64Array(15)]);
  assert.deepStrictEqual([seen[0].slice(0, 2), seen[0][3], z1], [[5, 3], z2, kept]);
  curious.compute(pairs, dim, Float32Array.from(z1), Float32Array.from(z2));
  assert.ok(seen[1][3] instanceof Float32Array && seen[1][4] === null);

  // What the function throws comes out, as it is, and the loss works on.
  let fails = true;
  const mine = new TypeError('mine');
  const broken = mio.Loss.custom(context, 'broken', (...given) => {
    if (fails) throw mine;
    return halfSquare(...given);
  });
  assert.throws(() => broken.compute(pairs, dim, z1, z2), (error) => error === mine);
  fails = false;
  assert.strictEqual(broken.compute(pairs, dim, z1, z2), halfSquare(pairs, dim, z1, z2));
  refused(() => broken.set('temperature', 1), 'MIO_ERROR_ARGUMENT', 'broken'); // not the error of the call before

  const wrong = (compute) => () => mio.Loss.custom(context, 'wrong', compute).compute(pairs, dim, z1, z2,
    [new Float64Array(15), new Float64Array(15)]);
  assert.throws(wrong(() => '3'), { name: 'TypeError', message: /must return its value/ });
  assert.throws(wrong(async () => 3), TypeError);
  refused(wrong((...given) => given[5].fill(NaN)[0] || 1), 'MIO_ERROR_STATE', 'grad_z2');
  assert.throws(wrong((...given) => {
    structuredClone(given[4], { transfer: [given[4].buffer] });
    return 1;
  }), RangeError);
  assert.throws(() => mio.Loss.custom(context, 'none'), TypeError);
  refused(() => mio.Loss.custom(context, '', halfSquare), 'MIO_ERROR_ARGUMENT', 'name');

  // What the caller's arrays are does not matter while the function runs.
  const [lent, gradient] = [z1.slice(), new Float64Array(15)];
  const thief = mio.Loss.custom(context, 'thief', (...given) => {
    if (lent.length) structuredClone(lent, { transfer: [lent.buffer] });
    return halfSquare(...given);
  });
  assert.strictEqual(thief.compute(pairs, dim, lent, z2, [gradient, null]), halfSquare(pairs, dim, z1, z2));
  near(gradient, z1.map((value, i) => value - z2[i]), 0);

  // Losses within losses, and what must not be touched meanwhile.
  const nested = mio.Loss.custom(context, 'nested', (...given) => {
    assert.throws(() => nested.compute(pairs, dim, z1, z2), { code: 'MIO_ERROR_STATE', message: /the loss is in use/ });
    assert.throws(() => nested.close(), { code: 'MIO_ERROR_STATE' });
    assert.throws(() => context.set('threads', 1), { code: 'MIO_ERROR_STATE' });
    const [pairs_, dim_, first, second, ...gradients] = given;
    return 2 * broken.compute(pairs_, dim_, first, second, gradients) + own.compute(pairs_, dim_, first, second);
  });
  const sum = 2 * halfSquare(pairs, dim, z1, z2) + own.compute(pairs, dim, z1, z2);
  assert.strictEqual(nested.compute(pairs, dim, z1, z2), sum);
  nested.close();
  refused(() => nested.compute(pairs, dim, z1, z2), 'MIO_ERROR_ARGUMENT', 'closed');
  context.set('threads', 2);
}

/** A loss is collected though its function knows it. */
async function testCollection(context) {
  require('v8').setFlagsFromString('--expose-gc');
  const collect = require('vm').runInNewContext('gc');
  const known = (() => {
    const loss = mio.Loss.custom(context, 'cyclic', () => (loss ? 1 : 0));
    loss.compute(2, 1, random(2), random(2));
    return new WeakRef(loss);
  })();
  for (let turn = 0; turn < 20 && known.deref(); turn++) {
    await new Promise(setImmediate);
    collect();
  }
  assert.strictEqual(known.deref(), undefined);
}

// ---- training from parts ----

function learner(context) {
  const b = new mio.Builder(context, 1, SIZE, SIZE);
  const features = b.globalAveragePool(b.relu(b.name('conv1').conv2d(b.input(), 8, 3, 1, 1)));
  return b.finish(features, b.projector(features, 2, 16, 8));
}

function parts(context, dataset, loss) {
  const augment = new mio.Augment(context, 'none', SIZE, SIZE, 1, { flip_probability: 0.5 });
  const loader = new mio.Loader(dataset, augment.setNormalization([0.5], [0.25]), { batch_size: 16 });
  const optimizer = new mio.Optimizer(context, 'sgd', { momentum: 0.9 });
  const schedule = new mio.Schedule(context, 'constant', { learning_rate: 0.05 });
  return { encoder: learner(context), loss, optimizer, schedule, loader, augment };
}

function weights(encoder) {
  return encoder.tensors().map(({ name }) => encoder.tensor(name));
}

async function testParts(context, folder) {
  const dataset = mio.Dataset.fromImages(context, stripes()), file = path.join(folder, 'parts.mio');
  const library = () => new mio.Loss(context, 'mio');
  const [first, second] = [parts(context, dataset, library()), parts(context, dataset, library())];
  const [once, again] = [first, second].map((given) => new mio.Trainer(given, { steps: 4 }));
  assert.strictEqual(once.encoder, first.encoder);
  const start = weights(once.encoder);
  assert.deepStrictEqual(weights(again.encoder), start);
  const reports = [once.step(), once.step()];
  assert.deepStrictEqual([reports[1].step, reports[1].totalSteps, reports[1].learningRate], [2, 4, 0.05]);
  assert.deepStrictEqual([again.step().loss, again.step().loss], reports.map((report) => report.loss));
  assert.deepStrictEqual(weights(again.encoder), weights(once.encoder));
  assert.notDeepStrictEqual(weights(once.encoder), start);
  once.save(file);
  const third = once.step().loss;

  // On another thread: everything that the step works on waits.
  again.restore(file);
  const underWay = again.stepAsync();
  const { encoder, loss, optimizer, schedule, loader, augment } = second, [z1, z2] = [random(4), random(4)];
  const other = new mio.Trainer(parts(context, dataset, library())), views = random(4 * SIZE * SIZE, Float32Array);
  for (const busy of [() => again.step(), () => encoder.tensor('conv1.weight'),
    () => encoder.infer(2, views.slice(288)), () => loss.compute(2, 2, z1, z2), () => loss.setLabels(),
    () => loss.close(), () => optimizer.set('momentum', 0),
    () => schedule.set('learning_rate', 1), () => schedule.at(0, 1), () => loader.next(), () => loader.seek(0),
    () => loader.stepsPerEpoch, () => again.restore(file), () => again.save(file), () => new mio.Trainer(second),
    () => augment.set('flip_probability', 1), () => new mio.Finetune(encoder).predict(dataset),
    () => encoder.hessianSpectrum(library(), 2, views), () => context.set('seed', 1)])
    assert.throws(busy, { code: 'MIO_ERROR_STATE' }, busy.toString());
  assert.ok(Number.isFinite(other.step().loss)); // of other parts
  assert.strictEqual((await underWay).loss, third);
  assert.deepStrictEqual(weights(again.encoder), weights(once.encoder));

  // Parts may be closed; what loaders draw with stays as it is.
  for (const part of [optimizer, schedule, loader, loss, augment]) part.close();
  assert.strictEqual(again.step().loss, once.step().loss);
  encoder.close();
  assert.strictEqual(again.encoder.facts.projectionDim, 8);
  refused(() => first.augment.set('flip_probability', 1), 'MIO_ERROR_STATE', 'views are drawn');
  const sharing = new mio.Loader(dataset, first.augment, { batch_size: 16 });
  assert.strictEqual(sharing.next().count, 16);
  refused(() => once.restore(file), 'MIO_ERROR_STATE', 'views are drawn');

  // What does not fit.
  const fresh = parts(context, dataset, library());
  assert.throws(() => new mio.Trainer({ ...fresh, loader: undefined }), { name: 'TypeError', message: /a Loader is/ });
  assert.throws(() => new mio.Trainer({ ...fresh, encoder: fresh.loss }), { name: 'TypeError', message: /an Encoder/ });
  assert.throws(() => new mio.Trainer(), TypeError);
  refused(() => new mio.Trainer(fresh, { stepps: 1 }), 'MIO_ERROR_ARGUMENT', 'stepps');
  const b = new mio.Builder(context, 1, SIZE, SIZE);
  const bare = b.finish(b.globalAveragePool(b.input()));
  refused(() => new mio.Trainer({ ...fresh, encoder: bare }), 'MIO_ERROR_ARGUMENT', 'projector');
  fresh.loader.set('views', 3);
  refused(() => new mio.Trainer(fresh), 'MIO_ERROR_ARGUMENT', '3 views');
}

async function testOwnTraining(context) {
  const dataset = mio.Dataset.fromImages(context, stripes());
  const library = parts(context, dataset, new mio.Loss(context, 'mio')), by = new mio.Loss(context, 'mio');
  const trainer = new mio.Trainer(library), losses = [1, 2, 3].map(() => trainer.step().loss);
  let touch = () => {};
  const given = parts(context, dataset, mio.Loss.custom(context, 'mine', (pairs, dim, z1, z2, ...gradients) => {
    touch();
    return by.compute(pairs, dim, z1, z2, gradients);
  }));
  const own = new mio.Trainer(given);
  given.loss.close(); // the trainer keeps it
  assert.strictEqual(own.step().loss, losses[0]);

  // A step whose function throws is undone; meanwhile nothing that it works on can be reached.
  const before = weights(own.encoder), mine = new Error('mine');
  touch = () => {
    for (const busy of [() => own.step(), () => own.close(), () => own.encoder.embedDataset(dataset),
      () => given.loader.next(), () => given.optimizer.close(), () => own.encoder.set('algorithm', 'exact'),
      () => context.set('threads', 1)])
      assert.throws(busy, { code: 'MIO_ERROR_STATE' }, busy.toString());
    assert.strictEqual(own.stepsDone, 1);
    throw mine;
  };
  for (let turn = 0; turn < 2; turn++) assert.throws(() => own.step(), (error) => error === mine);
  assert.deepStrictEqual([own.stepsDone, weights(own.encoder)], [1, before]);
  await assert.rejects(own.stepAsync(), { code: 'MIO_ERROR_UNSUPPORTED', message: /use step\(\)/ });
  let started;
  touch = () => {
    started = own.encoder.embedAsync(stripes()); // refused too
  };
  assert.strictEqual(own.step().loss, losses[1]);
  await assert.rejects(started, { code: 'MIO_ERROR_STATE' });
  touch = () => trainer.step(); // of others is no matter
  assert.strictEqual(own.step().loss, losses[2]);
  trainer.close();
  const twin = new mio.Trainer(parts(context, dataset, new mio.Loss(context, 'mio')));
  for (const loss of losses) assert.strictEqual(twin.step().loss, loss);
  assert.deepStrictEqual(weights(own.encoder), weights(twin.encoder));
}

function testViews(context) {
  const scene = stripes(), dataset = mio.Dataset.fromImages(context, scene);
  const third = scene.images.slice(3 * SIZE * SIZE, 4 * SIZE * SIZE), image = dataset.image(3);
  assert.deepStrictEqual(image, { height: SIZE, width: SIZE, channels: 1, pixels: third });
  refused(() => dataset.image(COUNT), 'MIO_ERROR_ARGUMENT', '64');
  const { mean, deviation } = dataset.statistics();
  const average = scene.images.reduce((sum, value) => sum + value, 0) / scene.images.length / 255;
  near(mean, [average], 1e-9);
  const augment = new mio.Augment(context, 'none', SIZE, SIZE, 1).setNormalization(mean, deviation);
  near(augment.apply(image, { view: 1 }), Float64Array.from(third, (v) => (v / 255 - mean[0]) / deviation[0]), 1e-5);
  assert.throws(() => augment.apply({ ...image, width: 3 }), RangeError);
  assert.throws(() => augment.apply({ ...image, pixels: [...third] }), TypeError);
  assert.throws(() => augment.setNormalization([0, 0], [1, 1]), RangeError);
  assert.throws(() => augment.setNormalization(0, 1), TypeError);
  assert.throws(() => augment.setNormalization(['0'], [1]), TypeError);

  const loader = new mio.Loader(dataset, new mio.Augment(context, 'mio-paper', 8, 8, 1), { batch_size: 10, seed: 3 });
  assert.strictEqual(loader.stepsPerEpoch, 6);
  const [one, two] = [loader.next(), loader.next()];
  assert.deepStrictEqual([one.epoch, one.step, two.epoch, two.step, two.count, two.views], [0, 0, 0, 1, 10, 2]);
  assert.deepStrictEqual([one.images.length, two.indices.length], [2 * 10 * 64, 10]);
  assert.deepStrictEqual([...two.labels], [...two.indices].map((index) => scene.labels[index]));
  loader.seek(0);
  const seen = [];
  for (const batch of loader) {
    assert.ok(seen.length || batch.images.every((value, i) => value === one.images[i]));
    if (seen.push(batch.step) === 7) break;
  }
  assert.deepStrictEqual(seen, [0, 1, 2, 3, 4, 5, 0]);
  loader.set('drop_last', false).seek(0, 6);
  const last = loader.next();
  assert.deepStrictEqual([last.count, last.images.length, last.labels.length], [4, 2 * 4 * 64, 4]);
  refused(() => loader.seek(0, 7), 'MIO_ERROR_ARGUMENT', 'no batch');
  assert.throws(() => loader.seek(-1), RangeError);
  assert.throws(() => loader.seek('0'), TypeError);
  assert.strictEqual(new mio.Schedule(context, 'constant', { learning_rate: 0.3 }).at(5, 10), 0.3);
  for (const [kind, name] of [[mio.Augment, 'mio-paper'], [mio.Schedule, 'cosine'], [mio.Optimizer, 'lars']])
    assert.ok(kind.names().includes(name));
}

function testEncoder(context) {
  const encoder = learner(context), [tensor] = encoder.tensors();
  assert.deepStrictEqual(tensor, { name: 'conv1.weight', shape: [8, 1, 3, 3], count: 72, trainable: true });
  const values = random(72, Float32Array);
  assert.deepStrictEqual(encoder.setTensor('conv1.weight', values).tensor('conv1.weight'), values);
  assert.throws(() => encoder.setTensor('conv1.weight', values.slice(1)), RangeError);
  assert.throws(() => encoder.setTensor('conv1.weight', [...values]), TypeError);
  refused(() => encoder.setTensor('conv2.weight', values), 'MIO_ERROR_ARGUMENT', 'conv2.weight');
  refused(() => encoder.tensor('conv2.weight'), 'MIO_ERROR_ARGUMENT', 'conv2.weight');
  encoder.setNormalization([0.5], [0.25]);
  assert.deepStrictEqual(encoder.normalization, { mean: Float64Array.of(0.5), deviation: Float64Array.of(0.25) });
  assert.throws(() => encoder.setNormalization([0.5, 1], [0.25, 1]), RangeError);
  const { images, ...shape } = stripes();
  const views = Float32Array.from(images, (value) => (value / 255 - 0.5) / 0.25);
  const { features, projections } = encoder.infer(COUNT, views);
  near(features, encoder.embed({ images, ...shape }), 1e-4);
  assert.strictEqual(projections.length, COUNT * 8);
  assert.throws(() => encoder.infer(2, new Float32Array(3)), RangeError);
  assert.throws(() => encoder.infer(1, new Float64Array(SIZE * SIZE)), TypeError);
}

// ---- fine-tuning ----

async function testFinetuning(context) {
  const dataset = mio.Dataset.fromImages(context, stripes()), [train, validation] = dataset.split(0.5, 1);
  assert.deepStrictEqual([train.length, validation.length, dataset.channels], [32, 32, 1]);
  const { mean, deviation } = dataset.statistics();
  const augment = new mio.Augment(context, 'none', SIZE, SIZE, 1).setNormalization(mean, deviation);
  const encoder = learner(context).setNormalization(mean, deviation);
  const choices = { epochs: 10, batch_size: 8, learning_rate: 0.05 };
  const tuned = new mio.Finetune(encoder, choices);
  refused(() => tuned.predict(validation), 'MIO_ERROR_STATE', 'run');
  assert.strictEqual(tuned.run(train, augment, validation), tuned);
  const classes = tuned.predict(validation);
  const right = classes.reduce((count, label, i) => count + (label === validation.label(i)), 0);
  assert.ok(right / classes.length > 0.9, `${right} of ${classes.length}`);
  augment.set('flip_probability', 0);

  // The same on another thread.
  const same = new mio.Finetune(learner(context).setNormalization(mean, deviation), choices);
  const underWay = same.runAsync(train, augment, validation);
  for (const busy of [() => same.predict(train), () => same.close(), () => same.set('epochs', 1),
    () => same.run(train, augment), () => augment.set('flip_probability', 1), () => context.set('threads', 1)])
    assert.throws(busy, { code: 'MIO_ERROR_STATE' }, busy.toString());
  assert.strictEqual(await underWay, same);
  assert.deepStrictEqual(same.predict(dataset), tuned.predict(dataset));
  same.close();

  assert.throws(() => tuned.run(train, validation), { name: 'TypeError', message: /an Augment is expected/ });
  await assert.rejects(tuned.runAsync(train), TypeError);
  assert.throws(() => new mio.Finetune(context), TypeError);
  const unlabelled = mio.Dataset.fromImages(context, { ...stripes(), labels: null });
  refused(() => tuned.run(unlabelled, augment), 'MIO_ERROR_ARGUMENT', 'label');
  await assert.rejects(tuned.runAsync(unlabelled, augment), { code: 'MIO_ERROR_ARGUMENT' });
  augment.setNormalization([0.1], [0.9]);
  refused(() => tuned.run(train, augment), 'MIO_ERROR_ARGUMENT', 'normalisation');
  assert.throws(() => dataset.split('half'), TypeError);
  refused(() => dataset.split(1.5), 'MIO_ERROR_ARGUMENT', 'fraction');
}

// ---- analysis ----

function testAnalysis(context) {
  const [pairs, dim] = [6, 4], [z1, z2] = [random(24), random(24, Float64Array, 9)];
  const loss = new mio.Loss(context, 'mio', { l2_weight: 2 }), gradients = [new Float64Array(24), new Float64Array(24)];
  loss.compute(pairs, dim, z1, z2, gradients);
  const both = [...gradients[0], ...gradients[1]];
  const { attraction, repulsion, l2 } = loss.displacements(pairs, dim, z1, z2, 0.3);
  near(attraction.map((value, i) => value + repulsion[i] + l2[i]), both.map((value) => -0.3 * value), 1e-14);
  refused(() => new mio.Loss(context, 'vicreg').displacements(pairs, dim, z1, z2), 'MIO_ERROR_UNSUPPORTED', 'vicreg');

  // Mutual information: mio's value is what is left of 2 ln 2.
  const found = mio.mutualInformation(context, pairs, dim, z1, z2);
  const plain = new mio.Loss(context, 'mio', { l2_weight: 0 });
  assert.ok(Math.abs(found.jensenShannon - 2 * Math.LN2 + plain.compute(pairs, dim, z1, z2)) < 1e-14);
  assert.ok(Math.abs(found.jensenShannon - found.positivePairs - found.negativePairs) < 1e-15);
  assert.deepStrictEqual(plain.mutualInformation(pairs, dim, z1, z2), found);
  const temperatures = { positiveTemperature: 0.3, negativeTemperature: 0.7 };
  plain.set('positive_temperature', 0.3).set('negative_temperature', 0.7);
  const own = mio.mutualInformation(context, pairs, dim, z1, z2, temperatures);
  assert.deepStrictEqual(own, plain.mutualInformation(pairs, dim, z1, z2));
  assert.notStrictEqual(own.infoNce, found.infoNce);
  const negative = { positiveTemperature: -1 };
  refused(() => mio.mutualInformation(context, pairs, dim, z1, z2, negative), 'MIO_ERROR_ARGUMENT', 'temperature');

  // The projector's gradient: the sum over rows of gradient x feature.
  const features = random(18, Float32Array, 5), sums = new Float64Array(12);
  for (let row = 0; row < 6; row++)
    for (let out = 0; out < 4; out++)
      for (let k = 0; k < 3; k++) sums[out * 3 + k] += gradients[0][row * 4 + out] * features[row * 3 + k];
  near(mio.projectorGradient(context, 6, 3, 4, gradients[0], features), sums, 1e-15);
  assert.throws(() => mio.projectorGradient(context, 6, 3, 5, gradients[0], features), RangeError);
  const none = new Float64Array(0);
  refused(() => mio.projectorGradient(context, 0, 3, 4, none, none), 'MIO_ERROR_ARGUMENT', '0');

  // The Hessian: the slope of the gradient, and of halfSquare 2 where the views part and 0 where they move as one.
  const direction = random(48, Float64Array, 3), slope = [1, -1].map((sign) => {
    const moved = [z1, z2].map((z, view) => z.map((value, i) => value + sign * 1e-5 * direction[24 * view + i]));
    const there = [new Float64Array(24), new Float64Array(24)];
    loss.compute(pairs, dim, ...moved, there);
    return [...there[0], ...there[1]];
  });
  const expected = slope[0].map((value, i) => (value - slope[1][i]) / 2e-5);
  near(loss.hessianProduct(pairs, dim, z1, z2, direction), expected, 1e-8);
  const square = mio.Loss.custom(context, 'half_square', halfSquare);
  const { eigenvalues, weights: shares } = square.hessianSpectrum(pairs, dim, z1, z2, { steps: 2, probe: 4 });
  near(eigenvalues, [0, 2], 1e-8);
  near([shares[0] + shares[1]], [1], 1e-12);
  const along = new Float64Array(48).fill(1, 0, 1);
  near(square.hessianProduct(pairs, dim, z1, z2, along), along.map((v, i) => v - (i === 24)), 1e-8);
  assert.ok(loss.hessianSpectrum(pairs, dim, z1, z2, { steps: 1e9 }).eigenvalues.length <= 48);
  const broken = mio.Loss.custom(context, 'broken', () => 1 / nothing);
  assert.throws(() => broken.hessianSpectrum(pairs, dim, z1, z2), ReferenceError);
  refused(() => new mio.Loss(context, 'moco').hessianSpectrum(pairs, dim, z1, z2), 'MIO_ERROR_UNSUPPORTED', 'moco');
  refused(() => loss.hessianSpectrum(pairs, dim, z1, z2, { steps: 0 }), 'MIO_ERROR_ARGUMENT', '0 steps');
  assert.throws(() => loss.hessianSpectrum(pairs, dim, z1, z2, { steps: 1.5 }), RangeError);
  assert.throws(() => loss.hessianSpectrum(pairs, dim, z1, z2, { steps: '3' }), TypeError);
  assert.throws(() => loss.hessianSpectrum(pairs, dim, z1, z2, { probe: '3' }), TypeError);
  assert.throws(() => loss.hessianProduct(pairs, dim, z1, z2, direction.slice(1)), RangeError);
  assert.throws(() => loss.hessianProduct(2 ** 40, 2 ** 40, z1, z2, direction), RangeError);
  assert.throws(() => loss.displacements(pairs, dim, z1, [...z2]), TypeError);
  assert.throws(() => loss.displacements(pairs, dim, z1, z2.slice(1)), RangeError);
  assert.throws(() => loss.displacements(pairs, dim, z1, z2, '1'), TypeError);
  loss.close();
  refused(() => loss.hessianSpectrum(pairs, dim, z1, z2), 'MIO_ERROR_ARGUMENT', 'closed');
}

function testEncoderHessian(context) {
  // z = W x mean of the image: the Hessian of half the squared length of z is the sum of squared means, twice.
  const b = new mio.Builder(context, 1, 4, 4), mean = b.globalAveragePool(b.input());
  const encoder = b.finish(mean, b.linear(mean, 2, false)), images = random(2 * 5 * 16, Float32Array);
  const length = mio.Loss.custom(context, 'half_length', (pairs, dim, z1, z2, gradZ1, gradZ2) => {
    gradZ1?.set(z1);
    gradZ2?.set(z2);
    return 0.5 * [...z1, ...z2].reduce((sum, value) => sum + value * value, 0);
  });
  let sum = 0;
  for (let image = 0; image < 10; image++)
    sum += (images.slice(16 * image, 16 * image + 16).reduce((all, value) => all + value, 0) / 16) ** 2;
  assert.strictEqual(encoder.weightCount, 2);
  const before = weights(encoder);
  const { eigenvalues } = encoder.hessianSpectrum(length, 5, images, { step: 1e-2 });
  near(eigenvalues, eigenvalues.map(() => sum), 1e-4 * sum);
  const column = encoder.hessianProduct(length, 5, images, Float64Array.of(0, 1), { step: 1e-2 });
  near(column, [0, sum], 1e-4 * sum);
  assert.deepStrictEqual(weights(encoder), before);

  // Without kinks: a symmetric matrix.
  const d = new mio.Builder(context, 1, 4, 4), pooled = d.globalAveragePool(d.conv2d(d.input(), 6, 3, 1, 1));
  const deep = d.finish(pooled, d.linear(pooled, 3, false)), count = deep.weightCount;
  const views = random(2 * 8 * 16, Float32Array);
  const [u, v] = [random(count, Float64Array, 2), random(count, Float64Array, 3)], loss = new mio.Loss(context, 'mio');
  const [hu, hv] = [u, v].map((direction) => deep.hessianProduct(loss, 8, views, direction, { step: 1e-3 }));
  const dot = (a, b) => a.reduce((all, value, i) => all + value * b[i], 0);
  assert.ok(Math.abs(dot(u, hv) - dot(v, hu)) < 1e-3 * Math.sqrt(dot(hu, hu) * dot(v, v)));
  assert.strictEqual(deep.hessianSpectrum(loss, 8, views, { steps: 3, probe: 1 }).eigenvalues.length, 3);
  const broken = mio.Loss.custom(context, 'broken', () => {
    assert.throws(() => deep.hessianSpectrum(loss, 8, views), { code: 'MIO_ERROR_STATE' });
    throw new RangeError('mine');
  });
  assert.throws(() => deep.hessianSpectrum(broken, 8, views), { name: 'RangeError', message: 'mine' });
  assert.throws(() => deep.hessianSpectrum(loss, 7, views), RangeError);
  assert.throws(() => deep.hessianSpectrum(context, 8, views), TypeError);
  assert.throws(() => deep.hessianProduct(loss, 8, views, u.slice(1)), RangeError);
  assert.throws(() => deep.hessianProduct(loss, 8, Float64Array.from(views), u), TypeError);
  refused(() => deep.hessianProduct(loss, 8, views, u, { step: -1 }), 'MIO_ERROR_ARGUMENT', 'step');
  assert.ok(Number.isFinite(loss.compute(2, 2, random(4), random(4)))); // free again
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
  testCustom(context);
  await testCollection(context);
  testViews(context);
  testEncoder(context);
  await testParts(context, folder);
  await testOwnTraining(context);
  await testFinetuning(context);
  testAnalysis(context);
  testEncoderHessian(context);
  fs.rmSync(folder, { recursive: true });
  console.log('100%: the Node.js binding');
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
