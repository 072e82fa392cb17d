'use strict';
// libmio for Node.js: classes over addon.c. Arrays are typed arrays, images Uint8Arrays (a Buffer is one); a failed call throws
// an Error whose code is the status's name ("MIO_ERROR_FORMAT"). See index.d.ts for every signature.
const native = require(process.env.MIO_NODE_ADDON || './build/Release/mio.node');

/** Kind and addon's handle of every object of this module: what has no entry, or another's, never reaches the addon. */
const handles = new WeakMap();

function own(object, kind, native) {
  handles.set(object, { kind, native });
  return object;
}

function handle(object, kind) {
  const entry = handles.get(object);
  if (entry?.kind !== kind) throw new TypeError(`a ${kind.name} is expected`);
  return entry.native;
}

/** Gives the memory back before the object is collected; it cannot be used after, and closing it again does nothing. */
function closable(kind, expectUnused = () => {}) {
  kind.prototype.close = function () {
    expectUnused(this);
    native.close(handle(this, kind));
    handles.get(this).closed = true;
  };
  if (Symbol.dispose) kind.prototype[Symbol.dispose] = kind.prototype.close;
}

/** An object around a handle that exists already. */
function wrap(kind, native) {
  return own(Object.create(kind.prototype), kind, native);
}

/** set(name, value) and get(name), values being numbers, booleans or names of choices. */
function configurable(kind, noun) {
  kind.prototype.set = function (name, value) {
    if (typeof value === 'boolean') value = Number(value);
    native[`${noun}_set`](handle(this, kind), name, value);
    return this;
  };
  kind.prototype.get = function (name) {
    return native[`${noun}_get`](handle(this, kind), name);
  };
}

function setAll(object, parameters) {
  for (const [name, value] of Object.entries(parameters)) object.set(name, value);
}

/** Whole numbers from 0 on, as C takes them. */
function wholes(numbers) {
  return numbers && BigUint64Array.from(numbers, (number) => {
    if (!(Number.isSafeInteger(number) && number >= 0)) throw new RangeError(`${number} is no index`);
    return BigInt(number);
  });
}

/** Calls under way on other threads, in any context. */
let underWay = 0;

class Context {
  constructor(parameters = {}) {
    own(this, Context, native.context_create());
    for (const [name, value] of Object.entries(parameters)) setContext.call(this, name, value); // nobody else has it yet
  }
  get target() {
    return native.context_target(handle(this, Context));
  }
}
configurable(Context, 'context');
closable(Context);
const setContext = Context.prototype.set;
Context.prototype.set = function (name, value) {
  if (underWay) throw new Error('something runs on another thread; await that before you change a context');
  return setContext.call(this, name, value);
};

class Loss {
  constructor(context, name, parameters = {}) {
    own(this, Loss, native.loss_create(handle(context, Context), name));
    setAll(this, parameters);
  }
  static names() {
    const names = [];
    for (let name; (name = native.loss_name_at(names.length)) !== null;) names.push(name);
    return names;
  }
  compute(pairs, dim, z1, z2, gradients) {
    return native.loss_compute(handle(this, Loss), pairs, dim, z1, z2, gradients?.[0], gradients?.[1]);
  }
  setBatch({ labels, indices } = {}) {
    native.loss_set_batch(handle(this, Loss), (labels ?? indices ?? []).length, labels, wholes(indices));
  }
  setLabels(labels) {
    this.setBatch({ labels });
  }
}
configurable(Loss, 'loss');
closable(Loss);

class Builder {
  constructor(context, channels, height, width) {
    own(this, Builder, native.builder_create(handle(context, Context), channels, height, width));
  }
  name(next) {
    native.builder_name(handle(this, Builder), next);
    return this;
  }
  finish(features, projections = -1, predictions = -1) {
    return wrapEncoder(native.builder_finish(handle(this, Builder), features, projections, predictions));
  }
}
closable(Builder);
for (const kind of ['input', 'conv2d', 'batchNorm', 'batchNormPlain', 'relu', 'maxPool', 'globalAveragePool', 'add', 'linear',
                    'resnet', 'projector', 'predictor', 'mlp']) {
  Builder.prototype[kind] = function (...numbers) {
    return native.builder_add(handle(this, Builder), kind, ...numbers.map(Number));
  };
}

/** How many embeddings, or steps that change it, are under way on other threads: of an encoder, or of a trainer and its
    encoder, which share the counts. */
const pending = new WeakMap();

function wrapEncoder(made, counts = { embeddings: 0, steps: 0 }) {
  const encoder = wrap(Encoder, made);
  pending.set(encoder, counts);
  return encoder;
}

function expectUnchanged(object) {
  if (pending.get(object).steps) throw new Error('the encoder is being trained; await that first');
}

function expectIdle(object) {
  expectUnchanged(object);
  if (pending.get(object).embeddings) throw new Error('the encoder is embedding; await that first');
}

async function settle(promise, object, what) {
  const counts = pending.get(object);
  underWay++;
  counts[what]++;
  try {
    return await promise;
  } finally {
    counts[what]--;
    underWay--;
  }
}

/** Room for the features of so many images; one that is too large is a RangeError. */
function features(encoder, count) {
  return new Float32Array(count * encoder.facts.featureDim);
}

class Encoder {
  constructor() {
    throw new TypeError('encoders come from Encoder.load, Builder.finish or Trainer.encoder');
  }
  static load(context, path) {
    return wrapEncoder(native.encoder_load(handle(context, Context), path));
  }
  save(path) {
    expectUnchanged(this);
    native.encoder_save(handle(this, Encoder), path);
  }
  get facts() {
    return native.encoder_facts(handle(this, Encoder));
  }
  embed({ count, height, width, channels, images }) {
    expectUnchanged(this);
    const found = features(this, count);
    native.encoder_embed(handle(this, Encoder), count, height, width, channels, images, found);
    return found;
  }
  async embedAsync({ count, height, width, channels, images }) {
    expectUnchanged(this);
    const given = [handle(this, Encoder), count, height, width, channels, images, features(this, count)];
    return settle(native.encoder_embed_later(...given), this, 'embeddings');
  }
  embedDataset(dataset) {
    expectUnchanged(this);
    const found = features(this, dataset.length);
    native.dataset_embed(handle(this, Encoder), handle(dataset, Dataset), found);
    return found;
  }
}
configurable(Encoder, 'encoder');
closable(Encoder, expectIdle);
const setEncoder = Encoder.prototype.set;
Encoder.prototype.set = function (name, value) {
  expectIdle(this);
  return setEncoder.call(this, name, value);
};

class Dataset {
  constructor() {
    throw new TypeError('datasets come from Dataset.open or Dataset.fromImages');
  }
  static open(context, format, path, split) {
    return wrap(Dataset, native.dataset_open(handle(context, Context), format, path, split));
  }
  static fromImages(context, { count, height, width, channels, images, labels }) {
    return wrap(Dataset, native.dataset_from_images(handle(context, Context), count, height, width, channels, images, labels));
  }
  get length() {
    return native.dataset_facts(handle(this, Dataset)).count;
  }
  get classes() {
    return native.dataset_facts(handle(this, Dataset)).classes;
  }
  label(index) {
    return native.dataset_label(handle(this, Dataset), index);
  }
  className(label) {
    return native.dataset_class_name(handle(this, Dataset), label);
  }
  imageName(index) {
    return native.dataset_image_name(handle(this, Dataset), index);
  }
  subset(indices) {
    return wrap(Dataset, native.dataset_subset(handle(this, Dataset), indices.length, wholes(indices)));
  }
}
closable(Dataset);

class Recipe {
  constructor(context, name, parameters = {}) {
    own(this, Recipe, native.recipe_create(handle(context, Context), name));
    setAll(this, parameters);
  }
  choose(part, name) {
    native.recipe_choose(handle(this, Recipe), part, name);
    return this;
  }
  build(dataset) {
    const trainer = wrap(Trainer, native.recipe_build(handle(this, Recipe), handle(dataset, Dataset)));
    pending.set(trainer, { embeddings: 0, steps: 0 });
    return trainer;
  }
}
configurable(Recipe, 'recipe');
closable(Recipe);

/** A trainer's encoder, one object however often it is asked for, until that is closed. */
const encoders = new WeakMap();

class Trainer {
  constructor() {
    throw new TypeError('trainers come from Recipe.build');
  }
  get encoder() {
    const known = encoders.get(this);
    if (known && !handles.get(known).closed) return known;
    const made = wrapEncoder(native.trainer_encoder(handle(this, Trainer)), pending.get(this));
    encoders.set(this, made);
    return made;
  }
  get stepsDone() {
    return native.trainer_steps_done(handle(this, Trainer));
  }
  step() {
    expectIdle(this);
    return native.trainer_step(handle(this, Trainer));
  }
  async stepAsync() {
    expectIdle(this);
    return settle(native.trainer_step_later(handle(this, Trainer)), this, 'steps');
  }
  save(path) {
    expectUnchanged(this);
    native.trainer_save(handle(this, Trainer), path);
  }
  restore(path) {
    expectIdle(this);
    native.trainer_restore(handle(this, Trainer), path);
  }
}

configurable(Trainer, 'trainer');
closable(Trainer, expectIdle);
const setTrainer = Trainer.prototype.set;
Trainer.prototype.set = function (name, value) {
  expectIdle(this);
  return setTrainer.call(this, name, value);
};

/** How many rows of dim values an array holds. */
function rows(values, dim) {
  const count = values.length / dim;
  if (!Number.isInteger(count)) throw new TypeError(`${values.length} values are no rows of ${dim}`);
  return count;
}

class Knn {
  constructor(context, parameters = {}) {
    own(this, Knn, native.knn_create(handle(context, Context)));
    setAll(this, parameters);
  }
  fit(dim, features, labels) {
    native.knn_fit(handle(this, Knn), rows(features, dim), dim, features, labels);
    return this;
  }
  predict(dim, queries) {
    const classes = new Int32Array(rows(queries, dim));
    native.knn_predict(handle(this, Knn), classes.length, dim, queries, classes);
    return classes;
  }
  search(dim, queries, neighbours) {
    const count = rows(queries, dim);
    const found = { indices: new Float64Array(count * neighbours), similarities: new Float32Array(count * neighbours) };
    native.knn_search(handle(this, Knn), count, dim, queries, neighbours, found.indices, found.similarities);
    return found;
  }
}
configurable(Knn, 'knn');
closable(Knn);

class Probe {
  constructor(context, solver = 'exact', parameters = {}) {
    own(this, Probe, native.probe_create(handle(context, Context), solver));
    setAll(this, parameters);
  }
  fit(dim, features, labels) {
    const classes = labels.reduce((most, label) => Math.max(most, label), 0) + 1;
    native.probe_fit(handle(this, Probe), rows(features, dim), dim, features, labels, classes);
    return this;
  }
  predict(dim, features) {
    const classes = new Int32Array(rows(features, dim));
    native.probe_predict(handle(this, Probe), classes.length, dim, features, classes);
    return classes;
  }
}
configurable(Probe, 'probe');
closable(Probe);

/** Of the library at run time: "0.1.0". */
function version() {
  const number = native.version();
  return `${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
}

const [STEM_IMAGENET, STEM_SMALL, STEM_SMALL_UNPADDED] = [0, 1, 2];
const [NORM_NONE, NORM_PLAIN, NORM_AFFINE] = [0, 1, 2];

// Shorthand alone: so import { ... } finds the names too.
module.exports = {
  Builder, Context, Dataset, Encoder, Knn, Loss, Probe, Recipe, Trainer, version,
  STEM_IMAGENET, STEM_SMALL, STEM_SMALL_UNPADDED, NORM_NONE, NORM_PLAIN, NORM_AFFINE,
};
