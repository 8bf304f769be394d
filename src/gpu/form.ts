/**
 * How a kernel runs on a GPU: as gathers.
 *
 * A thread writes one cell and reads what it likes, so every form says what the thread of cell i has to read and to
 * compute. There are no atomics and no order among threads: the same bits come out of every run.
 */
import type { DType } from "../device/kernel.ts";

/** Four neighbours that a thread reads at once. */
export interface Four {
  /** The statement that reads them. */
  readonly text: string;
  /** The text of each. */
  readonly parts: readonly string[];
}

/** An array that a thread reads. */
export interface Source {
  readonly length: number;
  readonly dtype: DType;
  /** Whether it lies on the device in fours; undefined where either way of reading it costs the same. */
  readonly fours: boolean | undefined;
  /** The text that reads one element; `index` is the text of a flat index. */
  at(index: string): string;
  /** Reads four elements: numbers 4 · index and on. `name` is that of a new variable. */
  four(name: string, index: string): Four;
}

/** What a form is told: all of it follows from shapes, dtypes and options, nothing from values. */
export interface GpuCall<A> {
  readonly attrs: A;
  readonly inputs: readonly Source[];
  /** What the stages before this one have made. */
  readonly stages: readonly Source[];
  readonly length: number;
  readonly dtype: DType;
}

/** What the thread of one cell does. */
export interface Gather {
  /**
   * Statements that end in `return`; `i` is the flat index of the cell, or of the group of four cells, and every name of
   * `numbers` a number.
   */
  readonly body: string;
  /** Sizes and options: given to the compiled text, so that one serves every shape. */
  readonly numbers?: Readonly<Record<string, number>>;
  /** How often the longest loop turns at most. Default 1. */
  readonly turns?: number;
}

/** One launch whose result later stages read. */
export interface Stage<A> {
  readonly length: number;
  /** Whether a thread makes four cells, and later stages read them so. */
  readonly fours?: boolean;
  readonly gather: (call: GpuCall<A>) => Gather;
}

/** A kernel's form on the GPU. */
export interface GpuForm<A> {
  /** What makes the output; null where the loops have to. */
  readonly gather: (call: GpuCall<A>) => Gather | null;
  /**
   * What makes four neighbouring cells in one thread, as `return [y0, y1, y2, y3]`. Asked where their number is a
   * multiple of four. Null where `gather` does better.
   */
  readonly fours?: (call: GpuCall<A>) => Gather | null;
  /** Launches before that. */
  readonly stages?: (call: GpuCall<A>) => readonly Stage<A>[];
  /**
   * The inputs whose values the kernel's check looks at; of the others it may ask for the length. Default: all. None: the
   * form itself gives what is out of bounds where the check would throw.
   */
  readonly checked?: readonly number[];
  /** Whether that check holds for all values between two for which it holds. */
  readonly checksRange?: boolean;
  /**
   * Bounds of the output where that is integers, from those of the inputs. Without bounds, or with some that float32 cannot
   * count to, the loops run.
   */
  readonly range?: (call: GpuCall<A>, ranges: readonly (Range | null)[]) => Range | null;
  /**
   * What may be wrong with values that only the device has: launched beside, with the output as its one stage. Whoever reads
   * what depends on the output gets the error where a number of it is not 0. Null where nothing can be wrong.
   */
  readonly doubt?: (call: GpuCall<A>) => Doubt<A> | null;
}

export interface Doubt<A> extends Stage<A> {
  readonly error: () => Error;
}

/** Bounds of all integers of a tensor, and where it is known also of the sum of all, which are then not negative. */
export type Range = readonly [least: number, greatest: number, total?: number];
