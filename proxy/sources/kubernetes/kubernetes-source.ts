/**
 * The source that reads one cluster from the Kubernetes API: a watcher for each resource, all of them feeding one assembler.
 * Nothing is delivered before every resource has been listed, so that a partial read never empties a pool.
 */
import { Budget } from '../../clients/budget.ts'
import { ApiError } from '../../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin, type KubernetesWorld } from '../../clients/kubernetes/connect.ts'
import {
  resources as basic,
  labelledPods,
  pods,
  policies,
  type Resource,
  wholeNodes,
} from '../../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../../clients/kubernetes/watcher.ts'
import type { ApiObject } from '../../clients/kubernetes/wire.ts'
import { defaultLimits, type Limits } from '../../model/cluster.ts'
import type { MeshError, Problem } from '../../model/error.ts'
import type { Sink } from '../../model/sink.ts'
import { TurnWork } from '../../model/time/turn.ts'
import { ServiceAssembler } from '../service-assembler.ts'
import type { Source } from '../source.ts'
import { ObjectReader } from './object-reader.ts'

export type KubernetesOptions = {
  /** The name of the cluster in the mesh. */
  readonly cluster: string
  /** Whether to read Pods too; only names of pods in DNS need them. */
  readonly pods?: boolean
  /**
   * Whether to read Pods with their labels, and policies. `needed`: the cluster is not live without the right to read them;
   * `wanted`: it is, and status says what is missing.
   */
  readonly workloads?: 'needed' | 'wanted' | undefined
  /** `whole`: the cluster is not live without the right to read Nodes; `only`: nothing but them is read, and what CNIs say about them. */
  readonly nodes?: 'whole' | 'only' | undefined
  readonly limits?: Limits
} & KubernetesLogin

export function createKubernetesSource(options: KubernetesOptions, world: KubernetesWorld): Source {
  return new KubernetesSource(options, world)
}

/** The state of one watcher. The cluster is live while every required resource is being watched. */
interface Progress {
  listed: boolean
  state: WatchState
}

function starting(): Progress {
  return { listed: false, state: { state: 'starting' } }
}

class KubernetesSource implements Source {
  readonly #cluster: string
  readonly #client: KubernetesClient
  readonly #budget: Budget
  readonly #world: KubernetesWorld
  readonly #assembler: ServiceAssembler
  readonly #reader: ObjectReader
  readonly #resources: readonly Resource[]
  /** Pods, if they are watched only while a policy needs them. */
  readonly #pods: Resource | undefined
  readonly #progress = new Map<Resource, Progress>()
  readonly #stop = new AbortController()
  #sink: Sink | undefined
  #watching: Promise<unknown> = Promise.resolve()
  #watchingPods: Promise<void> = Promise.resolve()
  #delivered = false
  #isRestoring = false
  #stopPods: (() => void) | undefined
  #wantsPods = false
  /** While Pods are watched: until they have been delivered, or the server has denied them. */
  #podsRead: PromiseWithResolvers<void> | undefined
  /** The reason of the loss that was reported; undefined while the cluster is not lost. */
  #lostBy: string | undefined
  /** Many changes in one turn of the event loop are delivered together, in turns of their own. */
  readonly #delivery = new TurnWork(() => {
    if (this.#sink) this.#deliver(this.#sink)
  })
  #reported = '0 '

  constructor(options: KubernetesOptions, world: KubernetesWorld) {
    this.#cluster = options.cluster
    this.#resources = resourcesFor(options)
    this.#pods = podsOnDemand(options)
    this.#world = world
    this.#client = createKubernetesClient(options, world)
    this.#budget = new Budget(options.limits ?? defaultLimits, world.clock)
    this.#assembler = new ServiceAssembler(options.cluster, { maxEndpoints: options.limits?.serviceEndpoints })
    this.#reader = new ObjectReader(options.cluster, this.#assembler, options.workloads !== undefined)
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#watching = Promise.all(this.#resources.map(resource => this.#watch(resource, this.#stop.signal)))
  }

  async followPods(wanted: boolean): Promise<void> {
    if (!this.#pods || !this.#sink) return
    this.#wantsPods = wanted
    if (wanted) this.#watchPods(this.#pods)
    else if (!this.#assembler.hasPolicies) this.#stopPods?.()
    await this.#podsRead?.promise
  }

  #watchPods(pods: Resource): void {
    if (this.#stopPods) return
    const stop = new AbortController()
    this.#stopPods = () => {
      this.#stopPods = undefined
      this.#progress.delete(pods)
      this.#podsRead?.resolve()
      this.#podsRead = undefined
      stop.abort()
    }
    this.#podsRead = Promise.withResolvers()
    this.#progress.set(pods, starting())
    const signal = AbortSignal.any([this.#stop.signal, stop.signal])
    // An earlier watch forgets its Pods when it ends.
    this.#watchingPods = this.#watchingPods.then(() => (signal.aborted ? undefined : this.#watch(pods, signal)))
  }

  async close(): Promise<void> {
    this.#sink = undefined
    this.#podsRead?.resolve()
    this.#stop.abort()
    await this.#client.close()
    await Promise.all([this.#watching, this.#watchingPods])
  }

  async #watch(resource: Resource, signal: AbortSignal): Promise<void> {
    const progress = this.#progress.get(resource) ?? starting()
    this.#progress.set(resource, progress)
    const listener = {
      put: (object: ApiObject) => {
        this.#reader.put(resource, object)
        this.#delivery.ask()
      },
      drop: (namespace: string, name: string) => {
        this.#reader.drop(resource.kind, namespace, name)
        this.#delivery.ask()
      },
      listed: () => {
        progress.listed = true
        this.#delivery.ask()
      },
      stateChanged: (state: WatchState) => {
        progress.state = state
        this.#delivery.ask()
      },
    }
    const { clock, random, log } = this.#world
    const options = { client: this.#client, budget: this.#budget, clock, random, log, cluster: this.#cluster }
    const watcher = new Watcher(resource, listener, options)
    await watcher.run(signal)
    // Its Pods are needed no more.
    if (!this.#stop.signal.aborted) watcher.forget()
  }

  #deliver(sink: Sink): void {
    if (this.#pods) this.#holdPolicies(this.#pods)
    const failure = this.#failure()
    if (this.#delivered && !this.#isRestoring) {
      if (!this.#assembler.flush(sink, () => this.#delivery.isOver)) this.#delivery.ask()
      else if (this.#pods && this.#isSettled(this.#pods)) this.#podsRead?.resolve()
    }
    if (failure) this.#lose(sink, failure)
    else if (this.#isComplete() && (!this.#delivered || this.#lostBy !== undefined)) void this.#restore(sink)
    this.#report(sink)
  }

  /** Policies of this cluster need its Pods, and wait for them unless the server denies them. */
  #holdPolicies(pods: Resource): void {
    const { hasPolicies } = this.#assembler
    if (hasPolicies) this.#watchPods(pods)
    else if (!this.#wantsPods) this.#stopPods?.()
    this.#assembler.holdPolicies(hasPolicies && !this.#isSettled(pods))
  }

  #lose(sink: Sink, failure: MeshError): void {
    if (failure.message === this.#lostBy) return
    this.#lostBy = failure.message
    sink.lost(failure)
  }

  /** Delivers everything, since the sink may have dropped what it had. */
  async #restore(sink: Sink): Promise<void> {
    if (this.#isRestoring) return
    this.#isRestoring = true
    await this.#assembler.prepare()
    this.#isRestoring = false
    if (!this.#sink || this.#failure()) return
    this.#delivered = true
    this.#lostBy = undefined
    this.#assembler.reset(sink)
    if (this.#pods && this.#isSettled(this.#pods)) this.#podsRead?.resolve()
  }

  /** Whether every resource has been listed. An optional one is waited for until the server denies it. */
  #isComplete(): boolean {
    return [...this.#progress.keys()].every(resource => this.#isSettled(resource))
  }

  #isSettled(resource: Resource): boolean {
    const progress = this.#progress.get(resource)
    const { optional, needed } = resource
    return progress !== undefined && (progress.listed || (optional === true && !needed && isRefused(progress.state)))
  }

  /** The first error of a required resource, or of any that takes too much: the limits are those of the cluster. */
  #failure(): MeshError | undefined {
    for (const [{ optional, needed }, { state }] of this.#progress) {
      if (state.state === 'over' || ((!optional || needed) && isFailing(state))) return state.error
    }
    return undefined
  }

  #report(sink: Sink): void {
    const connection = [...this.#connectionProblems()]
    const revision = `${this.#reader.revision} ${connection.map(({ message }) => message).join('\n')}`
    if (revision === this.#reported) return
    this.#reported = revision
    sink.problems([...connection, ...this.#reader.problems()])
  }

  /** Problems of the connection, as opposed to problems of objects. */
  *#connectionProblems(): Generator<Problem> {
    const where = this.#cluster
    if (this.#client.insecure) {
      const message = 'insecure-skip-tls-verify: a man in the middle can read and answer; set a certificate-authority'
      yield { code: 'SOURCE_READ', where, message }
    }
    for (const [{ optional }, { state }] of this.#progress) {
      if (state.state !== 'denied' && !(optional && isRefused(state))) continue
      yield { code: 'SOURCE_READ', where, message: state.error.message }
    }
  }
}

function resourcesFor({ pods: withPods, workloads, nodes }: KubernetesOptions): readonly Resource[] {
  if (nodes === 'only') return wholeNodes
  const own = new Set(wholeNodes.map(({ kind }) => kind))
  const resources = nodes ? [...basic.filter(({ kind }) => !own.has(kind)), ...wholeNodes] : basic
  if (workloads === undefined) return withPods ? [...resources, pods] : resources
  const more = withPods ? [labelledPods, ...policies] : policies
  return [...resources, ...more.map(each => neededIf(workloads === 'needed', each))]
}

/** Names of Pods in DNS need them always. */
function podsOnDemand({ pods: withPods, workloads }: KubernetesOptions): Resource | undefined {
  return workloads === undefined || withPods ? undefined : neededIf(workloads === 'needed', labelledPods)
}

function neededIf(isNeeded: boolean, resource: Resource): Resource {
  return isNeeded ? { ...resource, needed: true } : resource
}

/** One failed attempt is tolerated: watches are cut now and then, and the next attempt follows within a second. */
const toleratedMisses = 1

type Failing = Extract<WatchState, { error: MeshError }>

function isFailing(state: WatchState): state is Failing {
  return state.state === 'denied' || (state.state === 'failing' && state.misses > toleratedMisses)
}

/** The server answers, but with an error. A server that does not answer at all fails the required resources too. */
function isRefused(state: WatchState): state is Failing {
  return isFailing(state) && (state.state === 'denied' || state.error instanceof ApiError)
}
