/**
 * libmio for Node.js.
 *
 * Arrays are typed arrays, row after row: "pairs x dim values" means that value column of row is at row * dim + column.
 * Images are bytes, count x height x width x channels; views are floats in the same order, normalised. Parameters are
 * named as in the C headers.
 *
 * Errors: an argument of another type is a TypeError; a number that is no size, and a length that does not fit its
 * shape, are RangeErrors. A call that the library refuses throws an Error whose code is the status's name:
 * "MIO_ERROR_ARGUMENT" (a value, an unknown name), "MIO_ERROR_STATE" (another call must come first, or the object is in
 * use), "MIO_ERROR_UNSUPPORTED", "MIO_ERROR_IO", "MIO_ERROR_FORMAT", "MIO_ERROR_MEMORY". What comes back as a promise
 * rejects instead. An object that a call under way works on, on another thread or around a custom loss's function,
 * refuses whatever would disturb that with "MIO_ERROR_STATE".
 */

/** Both precisions that losses work in. */
type Floats = Float32Array | Float64Array;
/** Of a parameter: a number, a truth, or the name of a choice. */
type Value = number | boolean | string;
/** Parameters by their names, set one after the other. */
type Parameters = { [name: string]: Value };

/** count x height x width x channels bytes. */
interface Images {
  count: number;
  height: number;
  width: number;
  channels: number;
  images: Uint8Array | Uint8ClampedArray;
}

/** One image: height x width x channels bytes. */
interface Image {
  height: number;
  width: number;
  channels: number;
  pixels: Uint8Array;
}

/** Of each channel, in units of pixels in [0, 1]: view = (pixel / 255 - mean) / deviation. */
interface Normalization {
  mean: Float64Array;
  deviation: Float64Array;
}

/** Objects give their memory back when they are collected, or at once when they are closed (or leave a "using"
    declaration). A closed object cannot be used (TypeError); closing it again does nothing. What was made from it goes
    on. */
interface Closable {
  /** Gives the memory back. Errors: MIO_ERROR_STATE while a call under way works on the object. */
  close(): void;
}

/** What has named parameters. */
interface Configurable {
  /** Sets a parameter. Errors: MIO_ERROR_ARGUMENT (the name or the bounds), MIO_ERROR_STATE (the object is in use). */
  set(name: string, value: Value): this;
  /** Reads a parameter; a choice by its number. Errors: MIO_ERROR_ARGUMENT (the name). */
  get(name: string): number;
}

/** Memory, threads ("threads") and the seed ("seed") of everything made from it. Its parameters cannot be set while a
    call runs on another thread, or around a custom loss's function. */
export class Context implements Closable, Configurable {
  /** With these parameters. */
  constructor(parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** The instruction set in use: "avx512", "avx2" or "generic". */
  readonly target: string;
}

/**
 * The function of a custom loss: the value of pairs x dim rows of both views. It is called on this thread, within the
 * call that needs it. z1 and z2 are copies that it may change or keep. Gradients, pairs x dim and zeros at first, are
 * to be filled; null where none is wanted. All arrays are Float64Arrays where the loss is used in double (Hessians, or
 * compute on Float64Arrays), else Float32Arrays (training).
 */
type LossFunction = (pairs: number, dim: number, z1: Floats, z2: Floats, gradZ1: Floats | null,
                     gradZ2: Floats | null) => number;

/** Parts of a step on the rows, each 2 x pairs x dim values, first the rows of z1. */
interface Displacements {
  attraction: Float64Array;
  repulsion: Float64Array;
  l2: Float64Array;
}

/** Estimates in nats. */
interface MutualInformation {
  /** positivePairs + negativePairs: 0 where both look alike, at most 2 ln 2. */
  jensenShannon: number;
  /** Grows as positives draw together. */
  positivePairs: number;
  /** Grows as negatives draw apart. */
  negativePairs: number;
  /** At most ln(2 pairs - 1). */
  infoNce: number;
}

/** Eigenvalues, ascending, and the shares of the whole spectrum that they stand for, of sum 1. */
interface Spectrum {
  eigenvalues: Float64Array;
  weights: Float64Array;
}

/** A loss of two views' rows and its gradients, on plain arrays or in a trainer. */
export class Loss implements Closable, Configurable {
  /** By name ("mio", "nt_xent", ...). Errors: MIO_ERROR_ARGUMENT lists the known names. */
  constructor(context: Context, name: string, parameters?: Parameters);
  /**
   * A loss of your own, to be used wherever a loss is, but in Trainer.stepAsync (MIO_ERROR_UNSUPPORTED). It has no
   * parameters and sees rows alone. name: for messages and checkpoints, 1 to 100 bytes. What the function throws comes
   * out of the call that led to it; a trainer is then as before the step. So does a TypeError where it returns no
   * number, and MIO_ERROR_STATE where a gradient is not finite. While it runs, the objects of the call around it refuse
   * to be used.
   */
  static custom(context: Context, name: string, compute: LossFunction): Loss;
  /** All that the constructor knows, in alphabetical order. */
  static names(): string[];
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** What it was created by. */
  readonly name: string;
  /** Value of pairs x dim rows; writes the gradients, pairs x dim, into the arrays given for them. All arrays of one
      type, which is the precision. Errors: MIO_ERROR_ARGUMENT (fewer than 2 pairs, a value that is not finite: its
      place is named), MIO_ERROR_STATE (labels or indices are missing, or of another number). */
  compute<T extends Floats>(pairs: number, dim: number, z1: T, z2: T, gradients?: [T | null, T | null]): number;
  /** Labels, and indices in the dataset, of the pairs of the next computations; what is not given is forgotten. */
  setBatch(batch?: { labels?: Int32Array | null; indices?: ArrayLike<number> | null }): void;
  /** Labels alone. */
  setLabels(labels?: Int32Array | null): void;
  /** How a gradient step of this rate on the rows, pairs x dim, would move them: -rate x gradient, in parts that add up
      to it. In double. Errors: those of compute; MIO_ERROR_UNSUPPORTED (a loss that does not come apart, or a custom
      one). */
  displacements(pairs: number, dim: number, z1: Floats, z2: Floats, rate?: number): Displacements;
  /** Estimates from the cosines of pairs x dim rows at the loss's own temperatures; 0.5 where it has none. Errors:
      MIO_ERROR_ARGUMENT (fewer than 2 pairs, a value that is not finite). */
  mutualInformation(pairs: number, dim: number, z1: Floats, z2: Floats): MutualInformation;
  /** The Hessian by the rows, pairs x dim, times a direction: 2 x pairs x dim values as the direction, first the rows
      of z1. In double. Errors: those of compute; MIO_ERROR_UNSUPPORTED (a loss whose gradient is no function's). */
  hessianProduct(pairs: number, dim: number, z1: Floats, z2: Floats, direction: Floats): Float64Array;
  /** That Hessian's spectrum by steps (30) of Lanczos's method: at most so many eigenvalues, the outermost exact first.
      probe (0): number of the random start vector, below 2^32. Errors: hessianProduct's; MIO_ERROR_ARGUMENT (steps
      0). */
  hessianSpectrum(pairs: number, dim: number, z1: Floats, z2: Floats,
                  options?: { steps?: number; probe?: number }): Spectrum;
}

/** Estimates from the cosines of any two pairs x dim embeddings, at temperatures (0.5) finite and above 0: for
    comparing losses. Errors: MIO_ERROR_ARGUMENT (fewer than 2 pairs, a value that is not finite, a temperature). */
export function mutualInformation(context: Context, pairs: number, dim: number, z1: Floats, z2: Floats, temperatures?: {
  positiveTemperature?: number;
  negativeTemperature?: number;
}): MutualInformation;

/** What reaches the weights, outputs x inputs, of a linear projector: the sum over rows of gradient x feature.
    gradients: count x outputs, of the loss by every row; features: count x inputs. In double. Errors:
    MIO_ERROR_ARGUMENT (a size of 0). */
export function projectorGradient(context: Context, count: number, inputs: number, outputs: number, gradients: Floats,
                                  features: Floats): Float64Array;

/** A value in a network under construction; negative after a mistake. */
type Node = number;

/** 7x7 of stride 2, then max pooling. */
export const STEM_IMAGENET: 0;
/** 3x3 of stride 1, for images up to about 64 pixels. */
export const STEM_SMALL: 1;
/** The same without padding. */
export const STEM_SMALL_UNPADDED: 2;
/** No norm; the layer has a bias. */
export const NORM_NONE: 0;
/** Batch norm without weight and bias of its own. */
export const NORM_PLAIN: 1;
/** Batch norm. */
export const NORM_AFFINE: 2;

/** Layers of a network. Methods return the new value; mistakes surface in finish(). */
export class Builder implements Closable {
  /** For images of channels x height x width. Errors: MIO_ERROR_ARGUMENT (an extent of 0). */
  constructor(context: Context, channels: number, height: number, width: number);
  close(): void;
  /** Names the tensors of the next layer, at most 160 bytes; a prefix before resnet, projector, predictor and mlp. */
  name(next: string): this;
  /** The image. */
  input(): Node;
  /** A square convolution without bias; padding in pixels on all sides. */
  conv2d(x: Node, outChannels: number, kernel: number, stride: number, padding: number): Node;
  /** Batch norm with weight and bias. */
  batchNorm(x: Node): Node;
  /** Batch norm without. */
  batchNormPlain(x: Node): Node;
  /** max(x, 0). */
  relu(x: Node): Node;
  /** The maximum of a square window. */
  maxPool(x: Node, kernel: number, stride: number, padding: number): Node;
  /** The mean over all pixels: channels x 1 x 1. */
  globalAveragePool(x: Node): Node;
  /** The sum of two values of one shape. */
  add(left: Node, right: Node): Node;
  /** A fully connected layer on channels x 1 x 1. */
  linear(x: Node, outFeatures: number, bias: boolean): Node;
  /** A ResNet up to and including global average pooling; torchvision's baseWidth is 64. */
  resnet(x: Node, depth: 18 | 34 | 50, baseWidth: number, stem: 0 | 1 | 2): Node;
  /** Linear layers with batch norm after each, and a ReLU after all but the last. */
  projector(x: Node, layers: number, hidden: number, out: number): Node;
  /** The same, but the last layer has a bias and no batch norm. */
  predictor(x: Node, layers: number, hidden: number, out: number): Node;
  /** Any other head: hiddenNorm before the ReLUs, lastNorm at the end. */
  mlp(x: Node, layers: number, hidden: number, out: number, hiddenNorm: 0 | 1 | 2, lastNorm: 0 | 1 | 2): Node;
  /** The network, its weights drawn from the context's seed. All three are channels x 1 x 1: features are what embed
      returns, projections what a loss sees, predictions what some losses compare with those. Errors:
      MIO_ERROR_ARGUMENT (the first mistake). */
  finish(features: Node, projections?: Node, predictions?: Node): Encoder;
}

/** A weight or running statistic; shape as PyTorch's, count its product. */
interface Tensor {
  name: string;
  shape: number[];
  count: number;
  trainable: boolean;
}

/** A network with its weights: from images to features, and on to projections. */
export class Encoder implements Closable, Configurable {
  private constructor();
  /** From a file of save() or of Trainer.save(). Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT. */
  static load(context: Context, path: string): Encoder;
  close(): void;
  /** Errors: MIO_ERROR_IO, MIO_ERROR_STATE (a weight is not finite, or the encoder is being trained). */
  save(path: string): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Sizes; projectionDim is 0 without projections. */
  readonly facts: { featureDim: number; projectionDim: number; channels: number; height: number; width: number };
  /** What embed normalises with; 0 and 1 at first. An augment for this encoder needs the same. */
  readonly normalization: Normalization;
  /** One mean and deviation a channel. Errors: RangeError (another number of them), MIO_ERROR_ARGUMENT (a deviation
      that is not above 0). */
  setNormalization(mean: ArrayLike<number>, deviation: ArrayLike<number>): this;
  /** Weights and running statistics, in the library's order. */
  tensors(): Tensor[];
  /** A copy of a tensor's values, in PyTorch's layout. Errors: MIO_ERROR_ARGUMENT (no such name). */
  tensor(name: string): Float32Array;
  /** Copies a tensor in. Errors: RangeError (another number of values), MIO_ERROR_ARGUMENT (no such name, a value that
      is not finite). */
  setTensor(name: string, values: Float32Array): this;
  /** count x featureDim values. Images of another size are resized. Errors: MIO_ERROR_ARGUMENT (other channels than the
      encoder's). */
  embed(images: Images): Float32Array;
  /** The same on another thread, on a copy of the images. Meanwhile the encoder refuses to be changed or closed, and
      every context to be set. */
  embedAsync(images: Images): Promise<Float32Array>;
  /** Features of every image of a dataset: length x featureDim values, in its order. */
  embedDataset(dataset: Dataset): Float32Array;
  /** Evaluation pass on views, count x height x width x channels floats of the encoder's own size: features, count x
      featureDim values, and projections, count x projectionDim (null without). Errors: MIO_ERROR_ARGUMENT (a value that
      is not finite). */
  infer(count: number, images: Float32Array): { features: Float32Array; projections: Float32Array | null };
  /** How many numbers are trained: the length of hessianProduct's directions, all trainable tensors in their order. */
  readonly weightCount: number;
  /** The Hessian of a loss on one batch by all weights, times a direction of weightCount values. images: 2 x pairs x
      height x width x channels floats, first view 1 of all pairs, as Loader.next gives them. step: of the differences
      of gradients that it is found by, in units of the length of all weights; 0 takes 1e-4. Weights come back as they
      were. Errors: Loss.compute's and hessianProduct's; MIO_ERROR_ARGUMENT (no projections; a step below 0). */
  hessianProduct(loss: Loss, pairs: number, images: Float32Array, direction: Floats,
                 options?: { step?: number }): Float64Array;
  /** That Hessian's spectrum by steps (12) of Lanczos's method, each two passes forward and back. probe (0) and errors
      as Loss.hessianSpectrum's. */
  hessianSpectrum(loss: Loss, pairs: number, images: Float32Array,
                  options?: { steps?: number; probe?: number; step?: number }): Spectrum;
}

/** Byte images, with labels or without; it never changes. */
export class Dataset implements Closable {
  private constructor();
  /** format: "cifar10", "folder", "flat", "idx", ... Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT, MIO_ERROR_ARGUMENT
      (unknown format or split, no image), MIO_ERROR_UNSUPPORTED (a codec that the library was built without). */
  static open(context: Context, format: string, path: string, split?: string | null): Dataset;
  /** Copies the images and their labels, one an image. */
  static fromImages(context: Context, images: Images & { labels?: Int32Array | null }): Dataset;
  close(): void;
  /** Number of images. */
  readonly length: number;
  /** The highest label + 1; 0 without labels. */
  readonly classes: number;
  /** Of every image. */
  readonly channels: number;
  /** Of an image; -1 where it has none. Errors: MIO_ERROR_ARGUMENT (no such image). */
  label(index: number): number;
  /** null where the dataset has none. */
  className(label: number): string | null;
  /** The file that an image came from. Errors: MIO_ERROR_UNSUPPORTED (images that are no files), MIO_ERROR_ARGUMENT. */
  imageName(index: number): string;
  /** A copy of an image. Errors: MIO_ERROR_ARGUMENT (no such image). */
  image(index: number): Image;
  /** Mean and deviation over all pixels. */
  statistics(): Normalization;
  /** The images at these indices, in this order. Errors: MIO_ERROR_ARGUMENT (no such image; none at all). */
  subset(indices: ArrayLike<number>): Dataset;
  /** At random into two, the first with this fraction of every class; the same seed (0) gives the same. Errors:
      MIO_ERROR_ARGUMENT (a fraction outside (0, 1), nothing left for the second). */
  split(fraction: number, seed?: number): [Dataset, Dataset];
}

/** Random views, height x width x channels floats, of images of any size. */
export class Augment implements Closable, Configurable {
  /** preset: "mio-paper", "simclr", "none", ... Errors: MIO_ERROR_ARGUMENT (an unknown preset or parameter). */
  constructor(context: Context, preset: string, height: number, width: number, channels: number,
              parameters?: Parameters);
  /** All presets. */
  static names(): string[];
  close(): void;
  /** Errors also: MIO_ERROR_STATE once a loader has drawn views: it draws ahead. */
  set(name: string, value: Value): this;
  get(name: string): number;
  /** One mean and deviation a channel, 0 and 1 at first: give it the encoder's normalization. Errors: RangeError
      (another number of them), MIO_ERROR_ARGUMENT (a deviation that is not above 0), MIO_ERROR_STATE as set. */
  setNormalization(mean: ArrayLike<number>, deviation: ArrayLike<number>): this;
  /** One view, height x width x channels floats, of an image with the augment's channels. The four numbers (all 0) name
      its random stream: epoch and image below 2^32, view below 2^16. */
  apply(image: { height: number; width: number; pixels: Uint8Array },
        stream?: { seed?: number; epoch?: number; image?: number; view?: number }): Float32Array;
}

/** What a loader gives; all arrays are copies. */
interface Batch {
  /** Counted from 0. */
  epoch: number;
  /** Within the epoch, counted from 0. */
  step: number;
  /** Images. */
  count: number;
  /** Views of each. */
  views: number;
  /** views x count x height x width x channels, normalised. */
  images: Float32Array;
  /** Which images of the dataset, count values. */
  indices: Float64Array;
  /** Their labels, count values; -1 where there is none. */
  labels: Int32Array;
  /** How long the call waited for the batch. */
  waitSeconds: number;
}

/** Batches of views in a random order, epoch after epoch without end. */
export class Loader implements Closable, Configurable {
  /** Parameters: "batch_size" (256), "views" (2), "seed", "shuffle", "drop_last", "prefetch". Errors:
      MIO_ERROR_ARGUMENT (images of other channels than the views'). */
  constructor(dataset: Dataset, augment: Augment, parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Batches in an epoch. Errors: MIO_ERROR_ARGUMENT (the images do not fill one). */
  readonly stepsPerEpoch: number;
  /** Makes this batch (0) of this epoch the next. Errors: MIO_ERROR_ARGUMENT (no such batch). */
  seek(epoch: number, step?: number): void;
  /** The next batch. Errors: stepsPerEpoch's. */
  next(): Batch;
  /** next() without end. */
  [Symbol.iterator](): Generator<Batch, void>;
}

/** Moves the weights of one trainer. */
export class Optimizer implements Closable, Configurable {
  /** By name: "sgd", "adamw", "lars". Errors: MIO_ERROR_ARGUMENT lists the known names. */
  constructor(context: Context, name: string, parameters?: Parameters);
  /** All that the constructor knows. */
  static names(): string[];
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
}

/** A learning rate as a function of the step. */
export class Schedule implements Closable, Configurable {
  /** By name: "constant", "cosine", "step". Errors: MIO_ERROR_ARGUMENT lists the known names. */
  constructor(context: Context, name: string, parameters?: Parameters);
  /** All that the constructor knows. */
  static names(): string[];
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** The rate of a step, counted from 0, where an epoch has stepsPerEpoch (at least 1). */
  at(step: number, stepsPerEpoch: number): number;
}

/** A complete set of choices for a run; parameters have prefixes, such as "trainer.epochs". */
export class Recipe implements Closable, Configurable {
  /** By name ("mio-small", "simclr", ...). Errors: MIO_ERROR_ARGUMENT lists the known names. */
  constructor(context: Context, name: string, parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Replaces a part by another kind, with its default parameters. Errors: MIO_ERROR_ARGUMENT lists the known names. */
  choose(part: 'loss' | 'optimizer' | 'schedule', name: string): this;
  /** A trainer for a dataset. Errors: MIO_ERROR_ARGUMENT (less than one batch, parameters that do not fit each
      other). */
  build(dataset: Dataset): Trainer;
}

/** What a step did; NaN where it was not measured in this step. */
interface Report {
  /** Steps done, this one included. */
  step: number;
  /** Of this step, counted from 0. */
  epoch: number;
  stepsPerEpoch: number;
  /** The length of the run that "epochs" or "steps" ask for. */
  totalSteps: number;
  /** Of this step's batch, before the step. */
  loss: number;
  learningRate: number;
  /** Images, each in two views. */
  imagesPerSecond: number;
  stepSeconds: number;
  /** Of these, spent waiting for the loader. */
  waitSeconds: number;
  /** Mean cosine of positive pairs. */
  positiveSimilarity: number;
  /** Mean cosine of negative pairs. */
  negativeSimilarity: number;
  /** Of "cosine > 0" as a classifier of pairs, balanced. */
  pairAccuracy: number;
  /** Mean squared distance of positive pairs of unit vectors. */
  alignment: number;
  /** log mean exp(-2 squared distance) of one view's unit vectors. */
  uniformity: number;
  /** Of one view's unit projections: 1/sqrt(dim) is healthy, 0 a collapse. */
  channelDeviation: number;
  /** exp of the entropy of one view's singular values. */
  effectiveRank: number;
  /** Jensen-Shannon estimate, in nats. */
  mutualInformation: number;
  /** Of all weights together. */
  gradientNorm: number;
}

/** What a trainer is put together from. */
interface Parts {
  /** With projections, for images of the augment's size. */
  encoder: Encoder;
  loss: Loss;
  /** Of this trainer alone: it gets the encoder's weights and what the loss learns. */
  optimizer: Optimizer;
  schedule: Schedule;
  /** Of 2 views. */
  loader: Loader;
}

/** Steps an encoder on batches of views. */
export class Trainer implements Closable, Configurable {
  /** From parts, which go on to live with it and may be closed; Recipe.build makes one from a recipe. Errors: TypeError
      (a part is missing or of another kind), MIO_ERROR_ARGUMENT (parts that do not fit), MIO_ERROR_STATE (a part is in
      use; what the loss learns has another width than the projections). */
  constructor(parts: Parts, parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** The one that is trained: always the same object, until that is closed. */
  readonly encoder: Encoder;
  /** How many steps were done. */
  readonly stepsDone: number;
  /** One step on the next batch. Errors: those of the parts, what a custom loss's function throws, MIO_ERROR_STATE (a
      loss, gradient or weight is not finite); the trainer is then as before the step. */
  step(): Report;
  /** The same on another thread: meanwhile trainer, encoder and the other parts refuse to be used, changed, saved or
      closed, and every context to be set. Errors also: MIO_ERROR_UNSUPPORTED with a custom loss, whose function belongs
      to this thread. */
  stepAsync(): Promise<Report>;
  /** All that the next step depends on. Errors: MIO_ERROR_IO, MIO_ERROR_STATE (something is not finite, or in use). */
  save(path: string): void;
  /** Into a trainer of the same parts; the run then goes on bit for bit, and the parts' parameters come back too.
      Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT, MIO_ERROR_ARGUMENT (of other parts), MIO_ERROR_STATE (something is in use,
      or views are drawn with the augment elsewhere); the trainer is then as before. */
  restore(path: string): void;
}

/** Nearest neighbours by cosine similarity. */
export class Knn implements Closable, Configurable {
  /** Parameters: "k" (200), "temperature" (0.1), "weighted". */
  constructor(context: Context, parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Stores rows of dim features, and their labels from 0 on. Errors: MIO_ERROR_ARGUMENT (no row, a value that is not
      finite, a negative label). */
  fit(dim: number, features: Float32Array, labels?: Int32Array | null): this;
  /** Class of each row of dim values. Errors: MIO_ERROR_STATE (before fit, or without labels), MIO_ERROR_ARGUMENT. */
  predict(dim: number, queries: Float32Array): Int32Array;
  /** Each query's neighbours, the best first: rows x neighbours places in what was fitted, and cosines. Errors:
      MIO_ERROR_STATE (before fit), MIO_ERROR_ARGUMENT (more neighbours than there are, another dim). */
  search(dim: number, queries: Float32Array, neighbours: number): { indices: Float64Array; similarities: Float32Array };
}

/** A linear classifier on frozen features. */
export class Probe implements Closable, Configurable {
  /** "exact" (the default) goes to the optimum of a logistic regression, "sgd" is the MIO paper's. */
  constructor(context: Context, solver?: 'exact' | 'sgd', parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** On rows of dim features with labels from 0 on. Errors: MIO_ERROR_ARGUMENT (a label, a value that is not finite),
      MIO_ERROR_STATE (it diverged). */
  fit(dim: number, features: Float32Array, labels: Int32Array): this;
  /** Class of each row of dim features. Errors: MIO_ERROR_STATE (before fit), MIO_ERROR_ARGUMENT (another dim). */
  predict(dim: number, features: Float32Array): Int32Array;
}

/** Trains an encoder and a linear classifier together on labels. It changes the encoder: load that again for
    another. */
export class Finetune implements Closable, Configurable {
  /** Parameters: "epochs" (100), "batch_size" (32), "learning_rate", "momentum", "weight_decay", "decay",
      "label_fraction" (1), "seed". */
  constructor(encoder: Encoder, parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** On the labels of train, views drawn by augment, which must normalise as the encoder does. The epoch with the best
      loss on validation is kept; without it the last. Errors: MIO_ERROR_ARGUMENT (no labels, views of another shape or
      normalisation), MIO_ERROR_STATE (it diverged: lower "learning_rate"); encoder and classifier are then as
      before. */
  run(train: Dataset, augment: Augment, validation?: Dataset | null): this;
  /** The same on another thread: meanwhile it and the encoder refuse to be used, changed or closed, and every context
      to be set. */
  runAsync(train: Dataset, augment: Augment, validation?: Dataset | null): Promise<this>;
  /** The class of every image of a dataset. Errors: MIO_ERROR_STATE (before run), MIO_ERROR_ARGUMENT (other
      channels). */
  predict(dataset: Dataset): Int32Array;
}

/** Of the library at run time: "0.1.0". */
export function version(): string;
