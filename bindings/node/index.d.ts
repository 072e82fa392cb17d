/** libmio for Node.js. Shapes, parameters and errors are those of the C headers. */

type Floats = Float32Array | Float64Array;
type Value = number | boolean | string;
type Parameters = { [name: string]: Value };

/** count x height x width x channels bytes. */
interface Images {
  count: number;
  height: number;
  width: number;
  channels: number;
  images: Uint8Array | Uint8ClampedArray;
}

/** Objects give their memory back when they are collected, or at once when they are closed (or leave a "using" declaration).
    A closed object cannot be used; closing it again does nothing. What was made from it goes on. */
interface Closable {
  close(): void;
}

/** Memory, threads ("threads") and the seed ("seed") of everything made from it. */
export class Context implements Closable {
  close(): void;
  constructor(parameters?: Parameters);
  set(name: string, value: Value): this;
  get(name: string): number;
  /** "avx512", "avx2" or "generic". */
  readonly target: string;
}

export class Loss implements Closable {
  close(): void;
  constructor(context: Context, name: string, parameters?: Parameters);
  static names(): string[];
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Value of pairs x dim rows; writes the gradients into the arrays given for them. All arrays of one type. */
  compute<T extends Floats>(pairs: number, dim: number, z1: T, z2: T, gradients?: [T | null, T | null]): number;
  /** Labels, and indices in the dataset, of the pairs of the next computations; what is not given is forgotten. */
  setBatch(batch?: { labels?: Int32Array | null; indices?: ArrayLike<number> | null }): void;
  /** Labels alone. */
  setLabels(labels?: Int32Array | null): void;
}

/** A value in a network under construction. */
type Node = number;

export const STEM_IMAGENET: 0;
export const STEM_SMALL: 1;
export const STEM_SMALL_UNPADDED: 2;
export const NORM_NONE: 0;
export const NORM_PLAIN: 1;
export const NORM_AFFINE: 2;

/** Layers of a network; mistakes surface in finish(). */
export class Builder implements Closable {
  close(): void;
  constructor(context: Context, channels: number, height: number, width: number);
  input(): Node;
  conv2d(x: Node, outChannels: number, kernel: number, stride: number, padding: number): Node;
  /** Of the next layer. */
  name(next: string): this;
  batchNorm(x: Node): Node;
  batchNormPlain(x: Node): Node;
  relu(x: Node): Node;
  maxPool(x: Node, kernel: number, stride: number, padding: number): Node;
  globalAveragePool(x: Node): Node;
  add(left: Node, right: Node): Node;
  linear(x: Node, outFeatures: number, bias: boolean): Node;
  resnet(x: Node, depth: 18 | 34 | 50, baseWidth: number, stem: 0 | 1 | 2): Node;
  projector(x: Node, layers: number, hidden: number, out: number): Node;
  predictor(x: Node, layers: number, hidden: number, out: number): Node;
  mlp(x: Node, layers: number, hidden: number, out: number, hiddenNorm: 0 | 1 | 2, lastNorm: 0 | 1 | 2): Node;
  finish(features: Node, projections?: Node, predictions?: Node): Encoder;
}

export class Encoder implements Closable {
  private constructor();
  close(): void;
  static load(context: Context, path: string): Encoder;
  save(path: string): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** projectionDim is 0 without projections. */
  readonly facts: { featureDim: number; projectionDim: number; channels: number; height: number; width: number };
  /** count x featureDim values. */
  embed(images: Images): Float32Array;
  /** The same on another thread, on a copy of the images. Meanwhile the encoder refuses to be changed, and every context. */
  embedAsync(images: Images): Promise<Float32Array>;
  embedDataset(dataset: Dataset): Float32Array;
}

export class Dataset implements Closable {
  private constructor();
  close(): void;
  /** format: "cifar10", "folder", "flat", "idx", ... */
  static open(context: Context, format: string, path: string, split?: string | null): Dataset;
  /** Copies the images. */
  static fromImages(context: Context, images: Images & { labels?: Int32Array | null }): Dataset;
  readonly length: number;
  readonly classes: number;
  /** -1 where an image has none. */
  label(index: number): number;
  /** null where the dataset has none. */
  className(label: number): string | null;
  /** The file that an image came from. */
  imageName(index: number): string;
  /** The images at these indices, in this order. */
  subset(indices: ArrayLike<number>): Dataset;
}

/** A complete set of choices for a run; parameters have prefixes, such as "trainer.epochs". */
export class Recipe implements Closable {
  close(): void;
  constructor(context: Context, name: string, parameters?: Parameters);
  set(name: string, value: Value): this;
  get(name: string): number;
  choose(part: 'loss' | 'optimizer' | 'schedule', name: string): this;
  build(dataset: Dataset): Trainer;
}

/** What a step did; NaN where it was not measured in this step. */
interface Report {
  step: number;
  epoch: number;
  stepsPerEpoch: number;
  totalSteps: number;
  loss: number;
  learningRate: number;
  imagesPerSecond: number;
  stepSeconds: number;
  waitSeconds: number;
  positiveSimilarity: number;
  negativeSimilarity: number;
  pairAccuracy: number;
  alignment: number;
  uniformity: number;
  channelDeviation: number;
  effectiveRank: number;
  mutualInformation: number;
  gradientNorm: number;
}

export class Trainer implements Closable {
  private constructor();
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  readonly encoder: Encoder;
  readonly stepsDone: number;
  step(): Report;
  /** The same on another thread: meanwhile trainer and encoder refuse to be used, changed, saved or closed. */
  stepAsync(): Promise<Report>;
  save(path: string): void;
  restore(path: string): void;
}

export class Knn implements Closable {
  close(): void;
  constructor(context: Context, parameters?: Parameters);
  set(name: string, value: Value): this;
  get(name: string): number;
  fit(dim: number, features: Float32Array, labels?: Int32Array | null): this;
  predict(dim: number, queries: Float32Array): Int32Array;
  /** Each query's neighbours, the best first. */
  search(dim: number, queries: Float32Array, neighbours: number): { indices: Float64Array; similarities: Float32Array };
}

/** A linear classifier on frozen features. */
export class Probe implements Closable {
  constructor(context: Context, solver?: 'exact' | 'sgd', parameters?: Parameters);
  close(): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  fit(dim: number, features: Float32Array, labels: Int32Array): this;
  predict(dim: number, features: Float32Array): Int32Array;
}

/** Of the library at run time: "0.1.0". */
export function version(): string;
