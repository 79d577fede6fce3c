/** What a fault works on, and what is seen of Starlane from outside. */
import { spawnSync } from 'node:child_process'
import { failures, type Load, type Tally, tallyText } from './load.ts'
import type { Engine, Stage, Starlane } from './stage.ts'

export interface FaultRow {
  readonly fault: string
  readonly load: string
  readonly failed: string
  readonly detectMs?: number | undefined
  readonly healMs?: number | undefined
  readonly note?: string
}

export interface Scene {
  readonly stage: Stage
  readonly starlane: Starlane
  /** Starts another one, as that one was started. */
  readonly again: () => Starlane
  /** The addresses of the backends; the first is the one that fails. */
  readonly ips: readonly string[]
  /** Says what has happened to a further load, in the notes of the row, and what failed of it. */
  readonly alsoUnder: (name: string, load: Load) => void
}

export interface Fault {
  readonly name: string
  /** Why this machine cannot do it. */
  readonly impossible?: (() => string | undefined) | undefined
  /** How the first backend is made; by default in this process. */
  readonly backend?: (ip: string) => Promise<Faulty>
  readonly config?: object
  /** Sources and files, before Starlane starts. What it returns is added to the configuration. */
  readonly prepare?: (stage: Stage, ips: readonly string[], engine: Engine) => Promise<Prepared>
  /** For the process. */
  readonly env?: (stage: Stage) => Readonly<Record<string, string>>
  /** Begins the fault, waits, ends it; returns what was measured. */
  run(scene: Scene, faulty: Faulty): Promise<Partial<FaultRow>>
}

export interface Prepared {
  readonly config?: object
  readonly env?: Readonly<Record<string, string>>
  /** How Starlane is started, if not by its program alone. */
  run?(): Starlane
  close?(): void | Promise<void>
}

/** A backend that can fail and come back. */
export interface Faulty {
  fail(): void | Promise<void>
  heal(): void | Promise<void>
  close(): void
}

interface SeenService {
  readonly backends: readonly { address: string; health: string; notes?: Record<string, { state: string }> }[]
}

interface SeenStatus {
  readonly clusters: readonly { readonly name: string; readonly link: { readonly state: string } }[]
  readonly problems: readonly { readonly code: string; readonly where: string; readonly message: string }[]
}

/** The health of a backend, as Starlane shows it. */
export async function verdict(stage: Stage, ip: string): Promise<string | undefined> {
  return (await backends(stage)).find(({ address }) => address === ip)?.health
}

export async function backends(stage: Stage): Promise<SeenService['backends']> {
  return (await look<SeenService>(stage, '/v1/services/default/tcp')).backends
}

export function status(stage: Stage): Promise<SeenStatus> {
  return look<SeenStatus>(stage, '/v1/status')
}

/** The state of the link to a cluster. */
export async function link(stage: Stage, cluster: string): Promise<string | undefined> {
  return (await status(stage)).clusters.find(({ name }) => name === cluster)?.link.state
}

async function look<T>(stage: Stage, path: string): Promise<T> {
  const response = await fetch(`http://${stage.admin.host}:${stage.admin.port}${path}`)
  return (await response.json()) as T
}

export function isBad(health: string | undefined): boolean {
  return health === 'down' || health === 'ejected'
}

/** How long it took, in milliseconds; undefined when it has not come true. */
export async function until(check: () => Promise<boolean> | boolean, mostMs: number): Promise<number | undefined> {
  const since = performance.now()
  while (performance.now() - since < mostMs) {
    if (await Promise.resolve(check()).catch(() => false)) return Math.round(performance.now() - since)
    await sleep(20)
  }
  return undefined
}

export function failedText(tally: Tally): string {
  if (failures(tally) === 0) return '0'
  return Object.entries(tally.failed)
    .map(([error, count]) => `${count} ${error}`)
    .join(', ')
}

/** For the notes of a row. */
export function alsoText(name: string, tally: Tally): string {
  return `${name}: ${tallyText(tally)}`
}

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, Math.max(0, ms)))
}

export function nft(script: string): boolean {
  return spawnSync('nft', ['-f', '-'], { input: `${script}\n` }).status === 0
}

/** Why packets cannot be dropped here. */
export function noNft(): string | undefined {
  return nft('add table inet starlane-fault\ndelete table inet starlane-fault') ? undefined : 'needs root and nft'
}
