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

/** Memory, threads ("threads") and the seed ("seed") of everything made from it. */
export class Context {
  constructor(parameters?: Parameters);
  set(name: string, value: Value): this;
  get(name: string): number;
  /** "avx512", "avx2" or "generic". */
  readonly target: string;
}

export class Loss {
  constructor(context: Context, name: string, parameters?: Parameters);
  static names(): string[];
  set(name: string, value: Value): this;
  get(name: string): number;
  /** Value of pairs x dim rows; writes the gradients into the arrays given for them. All arrays of one type. */
  compute<T extends Floats>(pairs: number, dim: number, z1: T, z2: T, gradients?: [T | null, T | null]): number;
  /** Labels of the pairs of the next computations; nothing forgets them. */
  setLabels(labels?: Int32Array | null): void;
}

/** A value in a network under construction. */
type Node = number;

export const STEM_IMAGENET: 0;
export const STEM_SMALL: 1;

/** Layers of a network; mistakes surface in finish(). */
export class Builder {
  constructor(context: Context, channels: number, height: number, width: number);
  input(): Node;
  conv2d(x: Node, outChannels: number, kernel: number, stride: number, padding: number): Node;
  batchNorm(x: Node): Node;
  relu(x: Node): Node;
  maxPool(x: Node, kernel: number, stride: number, padding: number): Node;
  globalAveragePool(x: Node): Node;
  add(left: Node, right: Node): Node;
  linear(x: Node, outFeatures: number, bias: boolean): Node;
  resnet(x: Node, depth: 18 | 34 | 50, baseWidth: number, stem: 0 | 1): Node;
  projector(x: Node, layers: number, hidden: number, out: number): Node;
  finish(features: Node, projections?: Node): Encoder;
}

export class Encoder {
  private constructor();
  static load(context: Context, path: string): Encoder;
  save(path: string): void;
  set(name: string, value: Value): this;
  get(name: string): number;
  /** projectionDim is 0 without projections. */
  readonly facts: { featureDim: number; projectionDim: number; channels: number; height: number; width: number };
  /** count x featureDim values. */
  embed(images: Images): Float32Array;
  /** The same on another thread, on a copy of the images. Meanwhile the encoder refuses to be changed. */
  embedAsync(images: Images): Promise<Float32Array>;
  embedDataset(dataset: Dataset): Float32Array;
}

export class Dataset {
  private constructor();
  /** format: "cifar10", "folder", "flat", "idx", ... */
  static open(context: Context, format: string, path: string, split?: string | null): Dataset;
  /** Copies the images. */
  static fromImages(context: Context, images: Images & { labels?: Int32Array | null }): Dataset;
  readonly length: number;
  readonly classes: number;
  /** -1 where an image has none. */
  label(index: number): number;
}

/** A complete set of choices for a run; parameters have prefixes, such as "trainer.epochs". */
export class Recipe {
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

export class Trainer {
  private constructor();
  readonly encoder: Encoder;
  readonly stepsDone: number;
  step(): Report;
  save(path: string): void;
  restore(path: string): void;
}

export class Knn {
  constructor(context: Context, parameters?: Parameters);
  set(name: string, value: Value): this;
  get(name: string): number;
  fit(dim: number, features: Float32Array, labels?: Int32Array | null): this;
  predict(dim: number, queries: Float32Array): Int32Array;
  /** Each query's neighbours, the best first. */
  search(dim: number, queries: Float32Array, neighbours: number): { indices: Float64Array; similarities: Float32Array };
}

/** Of the library at run time: "0.1.0". */
export function version(): string;
