'use strict';
// libmio for Node.js: classes over the addon in src. Arrays are typed arrays, images Uint8Arrays (a Buffer is one); a
// failed call throws an Error whose code is the status's name ("MIO_ERROR_FORMAT"). See index.d.ts for every signature.
const native = require(process.env.MIO_NODE_ADDON || './build/Release/mio.node');

function fault(Kind, status, message) {
  return Object.assign(new Kind(message), { code: `MIO_ERROR_${status}` });
}

// ---- objects ----

/** Of every object of this module its kind, the addon's handle, and what else is known of it: what has no entry, or one
    of another kind, never reaches the addon. */
const entries = new WeakMap();

function own(object, kind, native, more) {
  entries.set(object, { kind, native, ...more });
  return object;
}

function entryOf(object, kind) {
  const entry = entries.get(object);
  if (entry?.kind === kind) return entry;
  throw fault(TypeError, 'ARGUMENT', `${/^[AEIOU]/.test(kind.name) ? 'an' : 'a'} ${kind.name} is expected`);
}

function handle(object, kind) {
  return entryOf(object, kind).native;
}

/** Gives the memory back before the object is collected; it cannot be used after, and closing it again does nothing. */
function closable(kind) {
  kind.prototype.close = function () {
    const entry = entryOf(this, kind);
    entry.use?.expectIdle();
    native.close(entry.native);
    entry.closed = true;
  };
  if (Symbol.dispose) kind.prototype[Symbol.dispose] = kind.prototype.close;
}

/** An object around a handle that exists already. */
function wrap(kind, native, more) {
  return own(Object.create(kind.prototype), kind, native, more);
}

/** Truth is a number in C. */
function plain(value) {
  return typeof value === 'boolean' ? Number(value) : value;
}

/** set(name, value) and get(name), values being numbers, booleans or names of choices. */
function configurable(kind, noun, expectFree = (entry) => entry.use?.expectIdle()) {
  kind.prototype.set = function (name, value) {
    const entry = entryOf(this, kind);
    expectFree(entry);
    native[`${noun}_set`](entry.native, name, plain(value));
    return this;
  };
  kind.prototype.get = function (name) {
    return native[`${noun}_get`](handle(this, kind), name);
  };
}

function setAll(object, parameters) {
  for (const [name, value] of Object.entries(parameters)) object.set(name, value);
}

/** All that a function names by index. */
function names(nameAt) {
  const found = [];
  for (let name; (name = nameAt(found.length)) !== null;) found.push(name);
  return found;
}

// ---- numbers and arrays ----

/** Name of a typed array's type; undefined of anything else. */
const typeOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Int8Array.prototype), Symbol.toStringTag).get;

function whole(number, what) {
  if (typeof number !== 'number') throw fault(TypeError, 'ARGUMENT', `${what} must be a number`);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw fault(RangeError, 'ARGUMENT', `${what} must be a whole number of at least 0, not ${number}`);
}

/** Numbers in any kind of array. */
function numbers(values, what) {
  if (typeof values?.length !== 'number') throw fault(TypeError, 'ARGUMENT', `${what} must be an array`);
  return Float64Array.from(values, (number) => {
    if (typeof number !== 'number') throw fault(TypeError, 'ARGUMENT', `${what} must hold numbers`);
    return number;
  });
}

/** Indices as C takes them. */
function places(indices) {
  return indices == null ? undefined :
    BigUint64Array.from(numbers(indices, 'indices'), (index) => BigInt(whole(index, 'an index')));
}

/** A typed array of one of these types, of so many values. */
function fitting(values, types, count, what) {
  const type = typeOf.call(values);
  if (!types.includes(type)) throw fault(TypeError, 'ARGUMENT', `${what} must be a ${types.join(' or ')}`);
  if (values.length === count) return values;
  throw fault(RangeError, 'ARGUMENT', `${what} has ${values.length} values; its shape has ${count}`);
}

/** Of floats or doubles, doubles that only this call has. */
function doubles(values, count, what) {
  return new Float64Array(fitting(values, ['Float64Array', 'Float32Array'], count, what));
}

/** pairs, dim and both views' rows in double. */
function pairing(pairs, dim, z1, z2) {
  const count = whole(pairs, 'pairs') * whole(dim, 'dim');
  return [pairs, dim, doubles(z1, count, 'z1'), doubles(z2, count, 'z2')];
}

/** How many rows of dim values an array holds. */
function rows(values, dim) {
  if (typeOf.call(values) !== 'Float32Array') throw fault(TypeError, 'ARGUMENT', 'rows must be a Float32Array');
  const count = values.length / whole(dim, 'dim');
  if (Number.isInteger(count)) return count;
  throw fault(RangeError, 'ARGUMENT', `${values.length} values are no rows of ${dim}`);
}

// ---- what is at work ----

/** Calls under way, in any context: on other threads, and on this one while it computes a loss of JavaScript's own. */
let underWay = 0;

/** Those that work on one object, and on its parts: some that read it, or one that changes it. */
class Use {
  constructor(noun, parts = []) {
    Object.assign(this, { noun, parts, readers: 0, writers: 0, why: '' });
  }
  /** It and its parts. */
  *all() {
    yield this;
    for (const part of this.parts) yield* part.all();
  }
  expectUnchanged() {
    if (!this.writers) return;
    throw fault(Error, 'STATE', `the ${this.noun} is in use: ${this.why}; wait for the end of that`);
  }
  expectIdle() {
    this.expectUnchanged();
    if (!this.readers) return;
    throw fault(Error, 'STATE', `the ${this.noun} is in use: ${this.why}; wait for the end of that`);
  }
}

/** Returns what ends it. */
function hold(reads, changes, why) {
  const [read, changed] = [reads, changes].map((uses) => uses.flatMap((use) => [...use.all()]));
  for (const use of read) use.expectUnchanged();
  for (const use of changed) use.expectIdle();
  const count = (by) => {
    for (const use of read) use.readers += by;
    for (const use of changed) use.writers += by;
    underWay += by;
  };
  for (const use of [...read, ...changed]) use.why = why;
  count(1);
  return () => count(-1);
}

/** A call that may compute a loss of JavaScript's own, which must not reach what is at work. */
function alone(changes, why, call) {
  const end = hold([], changes, why);
  try {
    return call();
  } finally {
    end();
  }
}

/** A call on another thread. */
async function later(reads, changes, why, start) {
  const end = hold(reads, changes, why);
  try {
    return await start();
  } finally {
    end();
  }
}

// ---- context ----

class Context {
  constructor(parameters = {}) {
    own(this, Context, native.context_create());
    for (const [name, value] of Object.entries(parameters)) setContext.call(this, name, value); // nobody has it yet
  }
  get target() {
    return native.context_target(handle(this, Context));
  }
}
configurable(Context, 'context');
closable(Context);
const setContext = Context.prototype.set;
Context.prototype.set = function (name, value) {
  if (!underWay) return setContext.call(this, name, value);
  throw fault(Error, 'STATE', 'something runs on another thread, or around this function; wait for the end of that');
};

// ---- losses ----

/** What the addon calls for a loss of JavaScript's own: the function gets copies, so that it may keep them. */
function answering(compute) {
  return (pairs, dim, inDouble, ...wanted) => {
    const Type = inDouble ? Float64Array : Float32Array;
    const [z1, z2] = [new Type(pairs * dim), new Type(pairs * dim)];
    native.loss_rows(z1, z2);
    const gradients = wanted.map((isWanted) => (isWanted ? new Type(pairs * dim) : null));
    const value = compute(pairs, dim, z1, z2, ...gradients);
    if (typeof value !== 'number') throw fault(TypeError, 'ARGUMENT', 'a custom loss must return its value, a number');
    native.loss_answer(value, ...gradients);
  };
}

/** Floats that nobody else can take away while a function runs; native refuses what is no such array. */
function copyOf(values) {
  const Type = { Float32Array, Float64Array }[typeOf.call(values)];
  return Type ? new Type(values) : values;
}

class Loss {
  constructor(context, name, parameters = {}) {
    own(this, Loss, native.loss_create(handle(context, Context), name), { use: new Use('loss') });
    setAll(this, parameters);
  }
  static custom(context, name, compute) {
    if (typeof compute !== 'function') throw fault(TypeError, 'ARGUMENT', 'a custom loss needs a function');
    const made = native.loss_create_custom(handle(context, Context), name);
    return wrap(Loss, made, { use: new Use('loss'), compute: answering(compute) });
  }
  static names() {
    return names(native.loss_name_at);
  }
  get name() {
    return native.loss_name(handle(this, Loss));
  }
  compute(pairs, dim, z1, z2, gradients) {
    const { native: loss, use, compute } = entryOf(this, Loss);
    const given = [z1, z2, gradients?.[0], gradients?.[1]], used = compute ? given.map(copyOf) : given;
    const value = alone([use], 'it is being computed', () => native.loss_compute(loss, pairs, dim, ...used, compute));
    for (const i of [2, 3]) if (used[i] !== given[i]) given[i].set(used[i]);
    return value;
  }
  setBatch({ labels, indices } = {}) {
    const { native: loss, use } = entryOf(this, Loss), given = places(indices);
    use.expectIdle();
    native.loss_set_batch(loss, (labels ?? given ?? []).length, labels, given);
  }
  setLabels(labels) {
    this.setBatch({ labels });
  }
  displacements(pairs, dim, z1, z2, rate = 1) {
    const { native: loss, use } = entryOf(this, Loss), given = pairing(pairs, dim, z1, z2);
    const parts = [1, 2, 3].map(() => new Float64Array(2 * pairs * dim));
    use.expectIdle();
    native.loss_displacements(loss, ...given, rate, ...parts);
    return { attraction: parts[0], repulsion: parts[1], l2: parts[2] };
  }
  mutualInformation(pairs, dim, z1, z2) {
    const { native: loss, use } = entryOf(this, Loss), given = pairing(pairs, dim, z1, z2);
    use.expectUnchanged();
    return native.loss_mutual_information(loss, ...given);
  }
  hessianProduct(pairs, dim, z1, z2, direction) {
    const { native: loss, use, compute } = entryOf(this, Loss), given = pairing(pairs, dim, z1, z2);
    const along = doubles(direction, 2 * pairs * dim, 'direction'), product = new Float64Array(along.length);
    alone([use], 'its Hessian is being found', () =>
      native.loss_hessian_product(loss, ...given, along, product, compute));
    return product;
  }
  hessianSpectrum(pairs, dim, z1, z2, { steps = 30, probe = 0 } = {}) {
    const { native: loss, use, compute } = entryOf(this, Loss), given = pairing(pairs, dim, z1, z2);
    return spectrum(steps, 2 * pairs * dim, (most, ...places) => alone([use], 'its Hessian is being found', () =>
      native.loss_hessian_spectrum(loss, ...given, most, probe, ...places, compute)));
  }
}
configurable(Loss, 'loss');
closable(Loss);

/** As many eigenvalues as a call finds in so many steps: never more than the matrix has rows. */
function spectrum(steps, size, call) {
  const most = Math.min(whole(steps, 'steps'), size);
  const [eigenvalues, weights] = [new Float64Array(most), new Float64Array(most)];
  const count = call(most, eigenvalues, weights);
  return { eigenvalues: eigenvalues.slice(0, count), weights: weights.slice(0, count) };
}

/** Estimates from any embeddings, whatever the loss. */
function mutualInformation(context, pairs, dim, z1, z2, temperatures = {}) {
  const { positiveTemperature = 0.5, negativeTemperature = 0.5 } = temperatures, given = pairing(pairs, dim, z1, z2);
  return native.mutual_information_at(handle(context, Context), positiveTemperature, negativeTemperature, ...given);
}

function projectorGradient(context, count, inputs, outputs, gradients, features) {
  const [ups, downs] = [whole(count, 'count') * whole(outputs, 'outputs'), count * whole(inputs, 'inputs')];
  const given = [doubles(gradients, ups, 'gradients'), doubles(features, downs, 'features')];
  const weights = new Float64Array(outputs * inputs);
  native.projector_gradient(handle(context, Context), count, inputs, outputs, ...given, weights);
  return weights;
}

// ---- encoders ----

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
for (const kind of ['input', 'conv2d', 'batchNorm', 'batchNormPlain', 'relu', 'maxPool', 'globalAveragePool', 'add',
                    'linear', 'resnet', 'projector', 'predictor', 'mlp']) {
  Builder.prototype[kind] = function (...given) {
    return native.builder_add(handle(this, Builder), kind, ...given.map(plain));
  };
}

/** A trainer and its encoder have one use, however many objects stand for the encoder. */
function wrapEncoder(made, use = new Use('encoder')) {
  return wrap(Encoder, made, { use });
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
    native.encoder_save(unchanged(this), path);
  }
  get facts() {
    return native.encoder_facts(handle(this, Encoder));
  }
  get normalization() {
    const [mean, deviation] = [1, 2].map(() => new Float64Array(this.facts.channels));
    native.encoder_get_normalization(unchanged(this), mean.length, mean, deviation);
    return { mean, deviation };
  }
  setNormalization(mean, deviation) {
    const { native: encoder, use } = entryOf(this, Encoder);
    const given = [numbers(mean, 'mean'), numbers(deviation, 'deviation')];
    use.expectIdle();
    native.encoder_set_normalization(encoder, this.facts.channels, ...given);
    return this;
  }
  tensors() {
    return native.encoder_tensors(handle(this, Encoder));
  }
  tensor(name) {
    const values = new Float32Array(this.tensors().find((tensor) => tensor.name === name)?.count ?? 0);
    native.encoder_get_tensor(unchanged(this), name, values.length, values);
    return values;
  }
  setTensor(name, values) {
    const { native: encoder, use } = entryOf(this, Encoder);
    const count = this.tensors().find((tensor) => tensor.name === name)?.count ?? values?.length;
    use.expectIdle();
    native.encoder_set_tensor(encoder, name, count, values);
    return this;
  }
  embed({ count, height, width, channels, images }) {
    const found = features(this, count);
    native.encoder_embed(unchanged(this), count, height, width, channels, images, found);
    return found;
  }
  async embedAsync({ count, height, width, channels, images }) {
    const { native: encoder, use } = entryOf(this, Encoder);
    const given = [encoder, count, height, width, channels, images, features(this, count)];
    return later([use], [], 'it is embedding', () => native.encoder_embed_later(...given));
  }
  embedDataset(dataset) {
    const images = handle(dataset, Dataset), found = features(this, dataset.length);
    native.dataset_embed(unchanged(this), images, found);
    return found;
  }
  infer(count, images) {
    const { featureDim, projectionDim, channels, height, width } = this.facts;
    fitting(images, ['Float32Array'], whole(count, 'count') * height * width * channels, 'images');
    const projections = projectionDim ? new Float32Array(count * projectionDim) : null;
    const found = { features: new Float32Array(count * featureDim), projections };
    native.encoder_infer(unchanged(this), count, images, found.features, projections);
    return found;
  }
  get weightCount() {
    return native.encoder_weights(handle(this, Encoder));
  }
  hessianProduct(loss, pairs, images, direction, { step = 0 } = {}) {
    const curve = new Curvature(this, loss, pairs, images);
    const along = doubles(direction, this.weightCount, 'direction'), product = new Float64Array(along.length);
    curve.find((given, compute) => native.encoder_hessian_product(...given, step, along, product, compute));
    return product;
  }
  hessianSpectrum(loss, pairs, images, { steps = 12, probe = 0, step = 0 } = {}) {
    const curve = new Curvature(this, loss, pairs, images);
    return spectrum(steps, this.weightCount, (most, ...places) => curve.find((given, compute) =>
      native.encoder_hessian_spectrum(...given, step, most, probe, ...places, compute)));
  }
}
configurable(Encoder, 'encoder');
closable(Encoder);

/** An encoder's handle, for what only reads it. */
function unchanged(encoder) {
  const { native: found, use } = entryOf(encoder, Encoder);
  use.expectUnchanged();
  return found;
}

/** Arguments of the Hessian by an encoder's weights. */
class Curvature {
  constructor(encoder, loss, pairs, images) {
    const [learner, measure] = [entryOf(encoder, Encoder), entryOf(loss, Loss)];
    const { channels, height, width } = encoder.facts;
    fitting(images, ['Float32Array'], 2 * whole(pairs, 'pairs') * height * width * channels, 'images');
    this.given = [learner.native, measure.native, pairs, measure.compute ? copyOf(images) : images];
    this.compute = measure.compute;
    this.uses = [learner.use, measure.use];
  }
  find(call) {
    return alone(this.uses, 'a Hessian is being found', () => call(this.given, this.compute));
  }
}

// ---- data ----

class Dataset {
  constructor() {
    throw new TypeError('datasets come from Dataset.open or Dataset.fromImages');
  }
  static open(context, format, path, split) {
    return wrap(Dataset, native.dataset_open(handle(context, Context), format, path, split));
  }
  static fromImages(context, { count, height, width, channels, images, labels }) {
    const given = [count, height, width, channels, images, labels];
    return wrap(Dataset, native.dataset_from_images(handle(context, Context), ...given));
  }
  get length() {
    return native.dataset_facts(handle(this, Dataset)).count;
  }
  get classes() {
    return native.dataset_facts(handle(this, Dataset)).classes;
  }
  get channels() {
    return native.dataset_facts(handle(this, Dataset)).channels;
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
  image(index) {
    const { height, width } = native.dataset_image_size(handle(this, Dataset), index), channels = this.channels;
    const pixels = new Uint8Array(height * width * channels);
    native.dataset_image(handle(this, Dataset), index, pixels.length, pixels);
    return { height, width, channels, pixels };
  }
  statistics() {
    const [mean, deviation] = [1, 2].map(() => new Float64Array(this.channels));
    native.dataset_statistics(handle(this, Dataset), mean.length, mean, deviation);
    return { mean, deviation };
  }
  subset(indices) {
    const given = places(indices);
    return wrap(Dataset, native.dataset_subset(handle(this, Dataset), given?.length, given));
  }
  split(fraction, seed = 0) {
    return native.dataset_split(handle(this, Dataset), fraction, seed).map((part) => wrap(Dataset, part));
  }
}
closable(Dataset);

class Augment {
  constructor(context, preset, height, width, channels, parameters = {}) {
    const made = native.augment_create(handle(context, Context), preset, height, width, channels);
    own(this, Augment, made, { height, width, channels, drawers: new Set() });
    setAll(this, parameters);
  }
  static names() {
    return names(native.augment_name_at);
  }
  setNormalization(mean, deviation) {
    const entry = entryOf(this, Augment), given = [numbers(mean, 'mean'), numbers(deviation, 'deviation')];
    expectUndrawn(entry);
    native.augment_set_normalization(entry.native, entry.channels, ...given);
    return this;
  }
  apply({ height, width, pixels }, { seed = 0, epoch = 0, image = 0, view = 0 } = {}) {
    const { native: augment, ...shape } = entryOf(this, Augment);
    const made = new Float32Array(shape.height * shape.width * shape.channels);
    const given = [seed, epoch, image, view, height, width, shape.channels, pixels];
    native.augment_apply(augment, ...given, made.length, made);
    return made;
  }
}

/** Loaders draw ahead, on threads of their own, from their first batch on. */
function expectUndrawn({ drawers }, drawer) {
  if ([...drawers].every((other) => other === drawer)) return;
  throw fault(Error, 'STATE', 'views are drawn with this augment; make another one for other parameters');
}
configurable(Augment, 'augment', expectUndrawn);
closable(Augment);

class Loader {
  constructor(dataset, augment, parameters = {}) {
    const views = entryOf(augment, Augment), made = native.loader_create(handle(dataset, Dataset), views.native);
    const use = Object.assign(new Use('loader'), { views });
    own(this, Loader, made, { use, images: dataset.length, viewSize: views.height * views.width * views.channels });
    setAll(this, parameters);
  }
  get stepsPerEpoch() {
    const { native: loader, use } = entryOf(this, Loader);
    use.expectUnchanged();
    return native.loader_steps_per_epoch(loader);
  }
  seek(epoch, step = 0) {
    const { native: loader, use } = entryOf(this, Loader);
    use.expectIdle();
    native.loader_seek(loader, epoch, step);
  }
  next() {
    const { native: loader, use, images: all, viewSize } = entryOf(this, Loader);
    use.expectIdle();
    const [views, most] = [native.loader_get(loader, 'views'), Math.min(native.loader_get(loader, 'batch_size'), all)];
    const room = [new Float32Array(views * most * viewSize), new Float64Array(most), new Int32Array(most)];
    draw(use);
    const batch = native.loader_next(loader, views, most, viewSize, ...room);
    const sizes = [views * batch.count * viewSize, batch.count, batch.count];
    const [images, indices, labels] = batch.count < most ? room.map((values, i) => values.slice(0, sizes[i])) : room;
    return { ...batch, images, indices, labels };
  }
  *[Symbol.iterator]() {
    for (;;) yield this.next();
  }
}
configurable(Loader, 'loader');
closable(Loader);

/** What a loader does, or a trainer with one. */
function draw(use) {
  for (const part of use.all()) part.views?.drawers.add(part);
}

// ---- training ----

class Optimizer {
  constructor(context, name, parameters = {}) {
    own(this, Optimizer, native.optimizer_create(handle(context, Context), name), { use: new Use('optimizer') });
    setAll(this, parameters);
  }
  static names() {
    return names(native.optimizer_name_at);
  }
}
configurable(Optimizer, 'optimizer');
closable(Optimizer);

class Schedule {
  constructor(context, name, parameters = {}) {
    own(this, Schedule, native.schedule_create(handle(context, Context), name), { use: new Use('schedule') });
    setAll(this, parameters);
  }
  static names() {
    return names(native.schedule_name_at);
  }
  at(step, stepsPerEpoch) {
    const { native: schedule, use } = entryOf(this, Schedule);
    use.expectUnchanged();
    return native.schedule_at(schedule, step, stepsPerEpoch);
  }
}
configurable(Schedule, 'schedule');
closable(Schedule);

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
    const made = native.recipe_build(handle(this, Recipe), handle(dataset, Dataset)), use = new Use('encoder');
    return wrap(Trainer, made, { use, learner: use });
  }
}
configurable(Recipe, 'recipe');
closable(Recipe);

/** A trainer's encoder, one object however often it is asked for, until that is closed. */
const encoders = new WeakMap();

class Trainer {
  constructor({ encoder, loss, optimizer, schedule, loader } = {}, parameters = {}) {
    const parts = [entryOf(encoder, Encoder), entryOf(loss, Loss), entryOf(optimizer, Optimizer),
                   entryOf(schedule, Schedule), entryOf(loader, Loader)];
    const [learner, measure, mover] = parts.map(({ use }) => use);
    learner.expectUnchanged();
    for (const { use } of parts.slice(1)) use.expectIdle();
    const made = native.trainer_create(...parts.map((part) => part.native));
    mover.parts = [...new Set([...mover.parts, learner, measure])]; // a step moves all that the optimizer has
    const use = new Use('trainer', parts.slice(2).map((part) => part.use));
    own(this, Trainer, made, { use, learner, compute: parts[1].compute });
    encoders.set(this, encoder);
    setAll(this, parameters);
  }
  get encoder() {
    const { native: trainer, learner } = entryOf(this, Trainer), known = encoders.get(this);
    if (known && !entries.get(known).closed) return known;
    const made = wrapEncoder(native.trainer_encoder(trainer), learner);
    encoders.set(this, made);
    return made;
  }
  get stepsDone() {
    return native.trainer_steps_done(handle(this, Trainer));
  }
  step() {
    const { native: trainer, use, compute } = entryOf(this, Trainer);
    return alone([use], 'the encoder is being trained', () => {
      draw(use);
      return native.trainer_step(trainer, compute);
    });
  }
  async stepAsync() {
    const { native: trainer, use, compute } = entryOf(this, Trainer);
    if (compute) throw fault(Error, 'UNSUPPORTED', "a custom loss is computed on JavaScript's own thread: use step()");
    return later([], [use], 'the encoder is being trained', () => {
      draw(use);
      return native.trainer_step_later(trainer);
    });
  }
  save(path) {
    const { native: trainer, use } = entryOf(this, Trainer);
    for (const part of use.all()) part.expectUnchanged();
    native.trainer_save(trainer, path);
  }
  restore(path) {
    const { native: trainer, use } = entryOf(this, Trainer);
    for (const part of use.all()) {
      part.expectIdle();
      if (part.views) expectUndrawn(part.views, part); // the checkpoint's parameters become the augment's
    }
    native.trainer_restore(trainer, path);
  }
}
configurable(Trainer, 'trainer');
closable(Trainer);

// ---- evaluation ----

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
    const count = rows(queries, dim), size = count * whole(neighbours, 'neighbours');
    const found = { indices: new Float64Array(size), similarities: new Float32Array(size) };
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

class Finetune {
  constructor(encoder, parameters = {}) {
    const learner = entryOf(encoder, Encoder);
    own(this, Finetune, native.finetune_create(learner.native), { use: new Use('finetune', [learner.use]) });
    setAll(this, parameters);
  }
  run(train, augment, validation) {
    const { given, use } = tuning(this, train, augment, validation);
    alone([use], 'the encoder is being fine-tuned', () => native.finetune_run(...given));
    return this;
  }
  async runAsync(train, augment, validation) {
    const { given, use, drawers } = tuning(this, train, augment, validation), drawer = {};
    try {
      await later([], [use], 'the encoder is being fine-tuned', () => {
        drawers.add(drawer);
        return native.finetune_run_later(...given);
      });
    } finally {
      drawers.delete(drawer);
    }
    return this;
  }
  predict(dataset) {
    const { native: finetune, use } = entryOf(this, Finetune), images = handle(dataset, Dataset);
    for (const part of use.all()) part.expectIdle();
    const classes = new Int32Array(dataset.length);
    native.finetune_predict(finetune, images, classes);
    return classes;
  }
}
configurable(Finetune, 'finetune');
closable(Finetune);

function tuning(finetune, train, augment, validation) {
  const { native: made, use } = entryOf(finetune, Finetune), views = entryOf(augment, Augment);
  const further = validation == null ? null : handle(validation, Dataset);
  return { given: [made, handle(train, Dataset), further, views.native], use, drawers: views.drawers };
}

/** Of the library at run time: "0.1.0". */
function version() {
  const number = native.version();
  return `${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
}

const [STEM_IMAGENET, STEM_SMALL, STEM_SMALL_UNPADDED] = [0, 1, 2];
const [NORM_NONE, NORM_PLAIN, NORM_AFFINE] = [0, 1, 2];

// Shorthand alone: so import { ... } finds the names too.
module.exports = {
  Augment, Builder, Context, Dataset, Encoder, Finetune, Knn, Loader, Loss, Optimizer, Probe, Recipe, Schedule, Trainer,
  mutualInformation, projectorGradient, version,
  STEM_IMAGENET, STEM_SMALL, STEM_SMALL_UNPADDED, NORM_NONE, NORM_PLAIN, NORM_AFFINE,
};
