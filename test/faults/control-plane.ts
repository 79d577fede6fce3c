/** Faults of what Starlane reads from: files, API servers, etcd, and the way between two clusters. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { connections } from '../../scripts/faults/load.ts'
import {
  backends,
  type Fault,
  type FaultRow,
  link,
  nft,
  noNft,
  type Prepared,
  type Scene,
  sleep,
  until,
} from '../../scripts/faults/scene.ts'
import { type Engine, Stage, serviceObjects } from '../../scripts/faults/stage.ts'
import { type Etcd, noEtcd, startEtcd, startMembers } from '../support/etcd/etcd.ts'
import { Relay } from '../support/etcd/relay.ts'
import type { Answer } from '../support/kube-api/http/faults.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../support/kube-api/server.ts'
import type { KubeObject } from '../support/kube-api/types.ts'

const needsEtcd = () => noEtcd || undefined
/** How long each of them lasts. */
const faultMs = 10_000
/** An hour between control planes, at one change a minute on each side, in a minute. */
const partition = { seconds: 60, staleAfter: '10s', drain: '10s' }

const apis = new WeakMap<Stage, KubeApi>()
const etcds = new WeakMap<Stage, readonly Etcd[]>()
const partners = new WeakMap<
  Stage,
  { readonly stage: Stage; readonly relays: readonly Relay[]; readonly closers: Closers }
>()

export const controlPlaneFaults: readonly Fault[] = [
  {
    name: 'the sources of both clusters are gone for 10 s',
    run: async ({ stage }) => {
      const move = (from: string, to: string) => {
        for (const name of ['cluster-1', 'cluster-2']) {
          renameSync(join(stage.folder, name + from), join(stage.folder, name + to))
        }
      }
      const links = () => Promise.all(['cluster-1', 'cluster-2'].map(cluster => link(stage, cluster)))
      move('', '-away')
      const since = performance.now()
      const detectMs = await until(async () => (await links()).every(state => state === 'lost'), faultMs)
      await sleep(since + faultMs - performance.now())
      move('-away', '')
      return { detectMs, healMs: await until(async () => (await links()).every(state => state === 'live'), 40_000) }
    },
  },
  apiFault('answers 410 to every watch', { status: 410, reason: 'Expired' }, 'watch'),
  apiFault('answers 429 to everything', { status: 429, reason: 'TooManyRequests', retryAfter: 1 }),
  apiFault('answers with garbage', { text: '<html>a proxy has lost its upstream</html>' }),
  {
    name: 'an etcd of three loses its quorum for 10 s',
    impossible: needsEtcd,
    prepare: async (stage, _ips, engine) => {
      const closers = new Closers()
      const members = await startMembers(closers.test, 3)
      etcds.set(stage, members)
      const endpoints = members.map(({ url }) => url)
      const other = await publisher(stage, engine, endpoints)
      closers.add(() => other.close())
      return { config: { clusters: clusters({ etcd: { endpoints } }) }, close: () => closers.close() }
    },
    run: async scene => {
      const lost = (etcds.get(scene.stage) ?? []).slice(1)
      await Promise.all(lost.map(member => member.signal('SIGKILL')))
      return whileLost(scene, () => Promise.all(lost.map(member => member.start())))
    },
  },
  {
    name: `an hour between the control planes of two clusters, at 60 times the rate: pods come and go on both sides`,
    impossible: () => needsEtcd() ?? noNft(),
    prepare: partitioned,
    run: partitionRun,
  },
]

function clusters(source: object) {
  return [
    { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
    { name: 'cluster-2', id: 2, source, allow: { loopback: true } },
  ]
}

/** A Starlane in cluster-2 that publishes what its manifests say, with the backends of cluster-2. */
async function publisher(stage: Stage, engine: Engine, endpoints: readonly string[], source?: object): Promise<Stage> {
  const other = new Stage({
    engine,
    drain: partition.drain,
    config: {
      cluster: 'cluster-2',
      clusters: [
        { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' } },
        ...(source ? [{ name: 'cluster-1', id: 1, source, allow: { loopback: true } }] : []),
      ],
      publish: { endpoints },
      ...(source && { stale: { after: partition.staleAfter } }),
    },
  })
  other.declare('tcp', { 'cluster-1': [], 'cluster-2': [stage.ip(12)] })
  await other.run().logged('ready')
  return other
}

/** The source of cluster-2 fails; a pod comes there meanwhile, which is seen when it is well again. */
async function whileLost(
  { stage }: Scene,
  heal: () => Promise<unknown>,
  change?: () => void,
): Promise<Partial<FaultRow>> {
  const since = performance.now()
  change?.()
  const detectMs = await until(async () => (await link(stage, 'cluster-2')) === 'lost', faultMs)
  await sleep(since + faultMs - performance.now())
  await heal()
  const isWell = async () =>
    (await link(stage, 'cluster-2')) === 'live' &&
    (!change || (await backends(stage)).some(({ address }) => address === stage.ip(13)))
  return {
    detectMs,
    healMs: await until(isWell, 60_000),
    ...(detectMs === undefined && { note: 'the link stays live' }),
  }
}

function apiFault(what: string, answer: Answer, verb?: string): Fault {
  return {
    name: `the API server of a cluster ${what}, for 10 s`,
    prepare: async stage => {
      const api = await startKubeApi()
      apis.set(stage, api)
      declareThere(stage, [stage.ip(12)])
      await stage.echo(stage.ip(13))
      const kubeconfig = join(stage.folder, 'kubeconfig')
      writeKubeconfig(kubeconfig, [{ name: 'cluster-2', server: api.url }])
      const source = { kubernetes: { kubeconfig, context: 'cluster-2' } }
      return { config: { clusters: clusters(source) }, close: () => api.stop() }
    },
    run: async scene => {
      const api = apis.get(scene.stage)
      if (!api) throw new Error('no API server')
      api.faults.add({ ...(verb && { verb }), times: 1_000_000, answer })
      if (verb === 'watch') api.watches.expire()
      else api.watches.end()
      const heal = async () => api.faults.clear()
      return whileLost(scene, heal, () => declareThere(scene.stage, [scene.stage.ip(12), scene.stage.ip(13)]))
    },
  }
}

function declareThere(stage: Stage, ips: readonly string[]): void {
  const api = apis.get(stage)
  for (const object of serviceObjects('tcp', { ip: stage.ip(9), port: 7000, protocol: 'TCP', ips })) {
    api?.put(object as unknown as KubeObject)
  }
}

/** Two Starlanes that publish into an etcd each, and read the other's through a relay. */
async function partitioned(stage: Stage, _ips: readonly string[], engine: Engine): Promise<Prepared> {
  const closers = new Closers()
  const [one, two] = await Promise.all([startEtcd(closers.test), startEtcd(closers.test)])
  // A pod that ends refuses first, and goes on with what it has accepted.
  nft(`table inet starlane-fault { set gone { type ipv4_addr; }; chain input { type filter hook input priority 0; policy accept;
    ip daddr @gone tcp dport 8000 tcp flags & (syn|ack) == syn reject with tcp reset; }; }`)
  closers.add(() => nft('delete table inet starlane-fault'))
  const relays = await Promise.all([one, two].map(({ url }) => Relay.open(closers.test, url)))
  const [toOne, toTwo] = relays.map(({ port }) => ({ etcd: { endpoints: [`http://127.0.0.1:${port}`] } }))
  const other = await publisher(stage, engine, [two.url], toOne)
  closers.add(() => other.close())
  partners.set(stage, { stage: other, relays, closers })
  return {
    config: {
      clusters: clusters(toTwo ?? {}),
      publish: { endpoints: [one.url] },
      stale: { after: partition.staleAfter },
      // Flows to a pod that has gone may take longer than a moment on a busy machine.
      proxy: { engine, drain: partition.drain, announce: '0' },
    },
    close: () => closers.close(),
  }
}

async function partitionRun({ stage, ips, alsoUnder }: Scene): Promise<Partial<FaultRow>> {
  const partner = partners.get(stage)
  if (!partner) throw new Error('no other cluster')
  const [here, there] = [
    new Pods(stage, 'cluster-1', ips.slice(0, 2), 30),
    new Pods(partner.stage, 'cluster-2', ips.slice(2), 60),
  ]
  // Once the load is over: their processes end with all that they have accepted.
  for (const pods of [here, there]) partner.closers.add(() => pods.close())
  const isWhole = async () => (await sees(stage, here, there)) && (await sees(partner.stage, here, there))
  await there.begin()
  if ((await until(isWhole, 20_000)) === undefined) throw new Error('the clusters do not see each other')
  alsoUnder('clients in the other cluster', connections({ host: partner.stage.ip(9), port: 7000 }, 200))
  for (const relay of partner.relays) relay.stall()
  const stalledAt = performance.now()
  const links = () => Promise.all([link(stage, 'cluster-2'), link(partner.stage, 'cluster-1')])
  let detectMs: number | undefined
  const states = new Set<string | undefined>()
  for (let second = 0; second < partition.seconds; second++) {
    for (const pods of [here, there]) await pods.change()
    const now: readonly (string | undefined)[] = await links().catch(() => [])
    for (const state of now) states.add(state)
    if (now.includes('lost') || now.includes('stale')) detectMs ??= Math.round(performance.now() - stalledAt)
    await sleep(Math.max(0, stalledAt + (second + 1) * 1000 - performance.now()))
  }
  for (const relay of partner.relays) relay.resume()
  const healMs = await until(isWhole, 120_000)
  const note = `${here.changes + there.changes} pods came or went; links were ${[...states].join(', ')}; afterwards both sides know all pods`
  return { detectMs, healMs, note: healMs === undefined ? 'the sides do not agree afterwards' : note }
}

/** Whether it has exactly the pods of both clusters. */
async function sees(stage: Stage, ...pods: Pods[]): Promise<boolean> {
  const known = (await backends(stage)).map(({ address }) => address).sort()
  const meant = pods.flatMap(({ ips }) => ips).sort()
  return known.join() === meant.join()
}

/** Pods of a cluster that come and go: one that leaves is no longer listed, then refuses, and ends what it has begun. */
class Pods {
  readonly ips: string[]
  changes = 0
  readonly #stage: Stage
  readonly #cluster: 'cluster-1' | 'cluster-2'
  /** They answer however busy the clients' process is. */
  readonly #process = fork(fileURLToPath(new URL('../../scripts/faults/backends.ts', import.meta.url)))
  /** The first ones stay, so that one that both sides know serves at any time. */
  readonly #stay: number
  readonly #first: number
  #next = 0

  constructor(stage: Stage, cluster: 'cluster-1' | 'cluster-2', ips: readonly string[], first: number) {
    this.#stage = stage
    this.#cluster = cluster
    this.ips = [...ips]
    this.#stay = ips.length
    this.#first = first
  }

  async change(): Promise<void> {
    this.changes++
    const passing = this.ips.length - this.#stay
    if (passing > 1 && (passing > 3 || this.changes % 2 === 0)) await this.#end()
    else await this.begin()
  }

  async begin(): Promise<void> {
    const ip = this.#stage.ip(this.#first + (this.#next++ % 25))
    nft(`delete element inet starlane-fault gone { ${ip} }`)
    await this.#tell({ begin: ip })
    this.ips.push(ip)
    this.#declare()
  }

  async close(): Promise<void> {
    this.#process.disconnect()
  }

  async #end(): Promise<void> {
    const [ip = ''] = this.ips.splice(this.#stay, 1)
    this.#declare()
    await sleep(200)
    nft(`add element inet starlane-fault gone { ${ip} }`)
    // The kernel would reset what waits to be accepted.
    await until(() => waitingAt(ip) === 0, 60_000)
    await this.#tell({ end: ip })
  }

  async #tell(what: { readonly begin: string } | { readonly end: string }): Promise<void> {
    this.#process.send(what)
    await once(this.#process, 'message')
  }

  #declare(): void {
    this.#stage.declare('tcp', { 'cluster-1': [], 'cluster-2': [], [this.#cluster]: this.ips })
  }
}

/** Connections to a pod that its kernel has made, and its process has not accepted yet (the receive queue of a socket that listens). */
function waitingAt(ip: string): number {
  const place = `${Buffer.from(ip.split('.').map(Number)).reverse().toString('hex').toUpperCase()}:1F40`
  const sockets = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  const listening = sockets
    .map(line => line.trim().split(/\s+/))
    .find(([, at, , state]) => at === place && state === '0A')
  const beingMade = sockets.filter(line => line.includes(` ${place} `) && / 03 /.test(line)).length
  return Number.parseInt(listening?.[4]?.split(':')[1] ?? '0', 16) + beingMade
}

/** Runs teardowns as a test does, last first. */
class Closers {
  readonly #all: (() => unknown)[] = []

  /** What helpers of tests want of a test. */
  get test(): Test {
    return { teardown: (run: () => unknown) => this.add(run) } as unknown as Test
  }

  add(run: () => unknown): void {
    this.#all.push(run)
  }

  async close(): Promise<void> {
    for (const run of this.#all.splice(0).reverse()) await run()
  }
}
