/** Keeps the file of one cluster up to date: soon after a change, not too often, and again if that fails. */
import { utimes } from 'node:fs/promises'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { doubled } from '../model/time/backoff.ts'
import type { Clock } from '../model/time/clock.ts'
import type { KnownCluster } from './known-cluster.ts'
import { linesOf } from './snapshot-lines.ts'
import { type Header, writeStateFile } from './state-file.ts'

/** How long changes are collected, and the least time between two writes. */
const settleMs = 1000
const restMs = 5000
/** After a write that failed: a full disk often has room again soon. */
const retry = { firstMs: 1000, longestMs: 30_000 }
/** How often the file of a cluster that does not change is confirmed. */
const confirmMs = 60_000

export interface SavedClusterParts {
  readonly path: string
  readonly header: Header
  readonly known: KnownCluster
  readonly clock: Clock
  readonly log: Log
}

export class SavedCluster {
  readonly #parts: SavedClusterParts
  #isDirty = false
  #saving: Promise<void> | undefined
  #retryMs: number | undefined
  #failure: MeshError | undefined
  #cancel: (() => void) | undefined
  #stopConfirming: () => void
  #closed = false
  #silent = false

  constructor(parts: SavedClusterParts) {
    this.#parts = parts
    this.#stopConfirming = parts.clock.every(confirmMs, () => void this.#confirm())
  }

  /** Something has changed. Nothing is written before the source has answered: the file has what was known before. */
  changed(): void {
    if (!this.#parts.known.hasSynced || this.#closed) return
    this.#isDirty = true
    this.#plan(settleMs)
  }

  /** Whether the file is kept; while it is not, another process keeps it. */
  setSaving(isSaving: boolean): void {
    this.#silent = !isSaving
    if (isSaving && this.#isDirty) this.#plan(settleMs)
  }

  problem(): Problem | undefined {
    const { path } = this.#parts
    return this.#failure && { code: this.#failure.code, where: path, message: this.#failure.message }
  }

  /** Writes what has changed. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancel?.()
    this.#stopConfirming()
    await this.#saving
    if (this.#silent) return
    if (this.#isDirty) await this.#save()
    else await this.#confirm()
  }

  #plan(ms: number): void {
    if (this.#closed || this.#saving || this.#silent) return
    this.#cancel ??= this.#parts.clock.after(ms, () => {
      this.#cancel = undefined
      if (this.#silent) return
      this.#saving = this.#save().finally(() => {
        this.#saving = undefined
        if (this.#isDirty) this.#plan(this.#retryMs ?? restMs)
      })
    })
  }

  async #save(): Promise<void> {
    const { path, header, known, clock, log } = this.#parts
    this.#isDirty = false
    try {
      await writeStateFile(path, header, linesOf(known.snapshot), clock.wall())
      if (this.#failure) log.info('state.saved', { path })
      this.#failure = undefined
      this.#retryMs = undefined
    } catch (error) {
      const why = messageOf(error)
      if (this.#failure === undefined) log.warn('state.unsaved', { path, why })
      this.#failure = new MeshError('STATE', `cannot be written (${why}); a restart would know an older state`)
      this.#isDirty = true
      this.#retryMs = doubled(this.#retryMs, retry)
    }
  }

  /** The time of the file is when its content was last known to be true. Only the time of a file that is written is set. */
  async #confirm(): Promise<void> {
    const { path, known, clock } = this.#parts
    if (!known.isLive || this.#isDirty || this.#saving || this.#silent) return
    const now = new Date(clock.wall())
    await utimes(path, now, now).catch(() => this.changed())
  }
}
