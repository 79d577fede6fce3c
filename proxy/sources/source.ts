/** What every source implements, whichever system it reads. */
import type { Sink } from '../model/sink.ts'

/** What a source knows about its cluster besides services, for `status`. Fields that it cannot know are absent. */
export interface Facts {
  /** The cluster id that the cluster itself announces. */
  readonly id?: number
  readonly nodes?: number
  readonly serviceExports?: number
}

/** Reads one cluster from an outside system and reports it to a sink. */
export interface Source {
  /** Starts reading and returns at once. The first call of the sink may come before or after it returns. */
  start(sink: Sink): void
  /** The current facts; cheap to call. */
  facts?(): Facts
  /**
   * Whether policies of any cluster need Pods. A source that has to watch them does so only then; one that has policies itself watches
   * them at once, and delivers no policy before them. Resolves when all that can be read have been, or none are wanted any more.
   */
  followPods?(wanted: boolean): Promise<void>
  /** Stops reading. Once it resolves, the sink is not called again. */
  close(): Promise<void>
}
