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

class Context {
  constructor(parameters = {}) {
    own(this, Context, native.context_create());
    setAll(this, parameters);
  }
  get target() {
    return native.context_target(handle(this, Context));
  }
}
configurable(Context, 'context');

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
  setLabels(labels) {
    native.loss_set_labels(handle(this, Loss), labels ? labels.length : 0, labels);
  }
}
configurable(Loss, 'loss');

class Builder {
  constructor(context, channels, height, width) {
    own(this, Builder, native.builder_create(handle(context, Context), channels, height, width));
  }
  finish(features, projections = -1) {
    return wrapEncoder(native.builder_finish(handle(this, Builder), features, projections));
  }
}
for (const kind of ['input', 'conv2d', 'batchNorm', 'relu', 'maxPool', 'globalAveragePool', 'add', 'linear', 'resnet', 'projector']) {
  Builder.prototype[kind] = function (...numbers) {
    return native.builder_add(handle(this, Builder), kind, ...numbers.map(Number));
  };
}

/** Embeddings under way on other threads, for each encoder: nothing may change it meanwhile. */
const pending = new WeakMap();

function wrapEncoder(made) {
  const encoder = wrap(Encoder, made);
  pending.set(encoder, 0);
  return encoder;
}

function expectIdle(encoder) {
  if (pending.get(encoder)) throw new Error('the encoder is embedding; await that first');
}

class Encoder {
  constructor() {
    throw new TypeError('encoders come from Encoder.load, Builder.finish or Trainer.encoder');
  }
  static load(context, path) {
    return wrapEncoder(native.encoder_load(handle(context, Context), path));
  }
  save(path) {
    native.encoder_save(handle(this, Encoder), path);
  }
  get facts() {
    return native.encoder_facts(handle(this, Encoder));
  }
  embed({ count, height, width, channels, images }) {
    return native.encoder_embed(handle(this, Encoder), count, height, width, channels, images);
  }
  async embedAsync({ count, height, width, channels, images }) {
    const promise = native.encoder_embed_later(handle(this, Encoder), count, height, width, channels, images);
    pending.set(this, pending.get(this) + 1);
    try {
      return await promise;
    } finally {
      pending.set(this, pending.get(this) - 1);
    }
  }
  embedDataset(dataset) {
    return native.dataset_embed(handle(this, Encoder), handle(dataset, Dataset));
  }
}
configurable(Encoder, 'encoder');
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
}

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
    return wrap(Trainer, native.recipe_build(handle(this, Recipe), handle(dataset, Dataset)));
  }
}
configurable(Recipe, 'recipe');

/** A trainer's encoder, one object however often it is asked for. */
const encoders = new WeakMap();

class Trainer {
  constructor() {
    throw new TypeError('trainers come from Recipe.build');
  }
  get encoder() {
    if (!encoders.has(this)) encoders.set(this, wrapEncoder(native.trainer_encoder(handle(this, Trainer))));
    return encoders.get(this);
  }
  get stepsDone() {
    return native.trainer_steps_done(handle(this, Trainer));
  }
  step() {
    expectIdle(this.encoder);
    return native.trainer_step(handle(this, Trainer));
  }
  save(path) {
    native.trainer_save(handle(this, Trainer), path);
  }
  restore(path) {
    expectIdle(this.encoder);
    native.trainer_restore(handle(this, Trainer), path);
  }
}

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
    return native.knn_predict(handle(this, Knn), rows(queries, dim), dim, queries);
  }
  search(dim, queries, neighbours) {
    return native.knn_search(handle(this, Knn), rows(queries, dim), dim, queries, neighbours);
  }
}
configurable(Knn, 'knn');

/** Of the library at run time: "0.1.0". */
function version() {
  const number = native.version();
  return `${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
}

module.exports = { Builder, Context, Dataset, Encoder, Knn, Loss, Recipe, Trainer, version, STEM_IMAGENET: 0, STEM_SMALL: 1 };
