/**
 * The Kubernetes API of one cluster as a source: a watcher for each resource, all of them feeding one assembler. Nothing is
 * delivered before every list has come once, so that a cluster that is still being read never empties a pool.
 */

import { ApiError } from '../../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin, type KubernetesWorld } from '../../clients/kubernetes/connect.ts'
import { pods, type Resource, resources } from '../../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../../clients/kubernetes/watcher.ts'
import type { MeshError, Problem } from '../../model/error.ts'
import type { Sink } from '../../model/sink.ts'
import { ServiceAssembler } from '../service-assembler.ts'
import type { Source } from '../source.ts'
import { ObjectReader } from './object-reader.ts'

export type KubernetesOptions = {
  /** The name of the cluster in the mesh. */
  readonly cluster: string
  /** Whether Pods are read too, which only names of pods in DNS need. */
  readonly pods?: boolean
} & KubernetesLogin

export function createKubernetesSource(options: KubernetesOptions, world: KubernetesWorld): Source {
  return new KubernetesSource(options, world)
}

/** What became of each watcher: the cluster is live while every resource that must be there is followed. */
interface Progress {
  listed: boolean
  state: WatchState
}

class KubernetesSource implements Source {
  readonly #cluster: string
  readonly #client: KubernetesClient
  readonly #world: KubernetesWorld
  readonly #assembler: ServiceAssembler
  readonly #reader: ObjectReader
  readonly #resources: readonly Resource[]
  readonly #progress = new Map<Resource, Progress>()
  readonly #stop = new AbortController()
  #sink: Sink | undefined
  #watching: Promise<unknown> = Promise.resolve()
  #delivered = false
  /** Why the sink has been told that the cluster is lost; undefined while it has not. */
  #lostBy: string | undefined
  #flushing = false
  #reported = '0 '

  constructor(options: KubernetesOptions, world: KubernetesWorld) {
    this.#cluster = options.cluster
    this.#resources = options.pods ? [...resources, pods] : resources
    this.#world = world
    this.#client = createKubernetesClient(options, world)
    this.#assembler = new ServiceAssembler(options.cluster)
    this.#reader = new ObjectReader(options.cluster, this.#assembler)
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#watching = Promise.all(this.#resources.map(resource => this.#watch(resource)))
  }

  async close(): Promise<void> {
    this.#sink = undefined
    this.#stop.abort()
    await this.#client.close()
    await this.#watching
  }

  #watch(resource: Resource): Promise<void> {
    const progress: Progress = { listed: false, state: { state: 'starting' } }
    this.#progress.set(resource, progress)
    const listener = {
      put: (object: Parameters<ObjectReader['put']>[1]) => {
        this.#reader.put(resource, object)
        this.#touch()
      },
      drop: (namespace: string, name: string) => {
        this.#reader.drop(resource.kind, namespace, name)
        this.#touch()
      },
      listed: () => {
        progress.listed = true
        this.#touch()
      },
      moved: (state: WatchState) => {
        progress.state = state
        this.#touch()
      },
    }
    const { clock, random, log } = this.#world
    const options = { client: this.#client, clock, random, log, cluster: this.#cluster }
    return new Watcher(resource, listener, options).run(this.#stop.signal)
  }

  /** However much comes at once, the sink hears of it once. */
  #touch(): void {
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => {
      this.#flushing = false
      if (this.#sink) this.#deliver(this.#sink)
    })
  }

  #deliver(sink: Sink): void {
    const failure = this.#failure()
    if (this.#delivered) this.#assembler.flush(sink)
    if (failure) this.#lose(sink, failure)
    else if (this.#isComplete() && (!this.#delivered || this.#lostBy !== undefined)) this.#restore(sink)
    this.#report(sink)
  }

  #lose(sink: Sink, failure: MeshError): void {
    if (failure.message === this.#lostBy) return
    this.#lostBy = failure.message
    sink.lost(failure)
  }

  /** The whole, since the receiver may have given up what it had. */
  #restore(sink: Sink): void {
    this.#delivered = true
    this.#lostBy = undefined
    this.#assembler.reset(sink)
  }

  /** Whether everything has come once. What need not be there is waited for until it fails. */
  #isComplete(): boolean {
    return [...this.#progress].every(([{ optional }, { listed, state }]) => listed || (optional && isWithheld(state)))
  }

  /** The first reason why the cluster cannot be followed. */
  #failure(): MeshError | undefined {
    for (const [{ optional }, { state }] of this.#progress) if (!optional && isFailing(state)) return state.error
    return undefined
  }

  #report(sink: Sink): void {
    const standing = [...this.#standing()]
    const revision = `${this.#reader.revision} ${standing.map(({ message }) => message).join('\n')}`
    if (revision === this.#reported) return
    this.#reported = revision
    sink.problems([...standing, ...this.#reader.problems()])
  }

  /** What is wrong with the way to the cluster rather than with anything in it. */
  *#standing(): Generator<Problem> {
    const where = this.#cluster
    if (this.#client.insecure) {
      const message =
        'insecure-skip-tls-verify: whoever is on the way can read and answer; give a certificate-authority'
      yield { code: 'SOURCE_READ', where, message }
    }
    for (const [{ optional }, { state }] of this.#progress) {
      if (state.state !== 'denied' && !(optional && isWithheld(state))) continue
      yield { code: 'SOURCE_READ', where, message: state.error.message }
    }
  }
}

/** One miss is forgiven: connections are cut, and the next attempt follows within a second. */
const forgivenMisses = 1

type Failing = Extract<WatchState, { error: MeshError }>

function isFailing(state: WatchState): state is Failing {
  return state.state === 'denied' || (state.state === 'failing' && state.misses > forgivenMisses)
}

/** The server answers, but does not give this; one that does not answer at all is told of by the others. */
function isWithheld(state: WatchState): state is Failing {
  return isFailing(state) && (state.state === 'denied' || state.error instanceof ApiError)
}
