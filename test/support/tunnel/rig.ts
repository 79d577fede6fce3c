/** A gateway of cluster-2 and the tunnels of cluster-1 to it, over real sockets on loopback. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { findAddon, loadAddon } from '../../../proxy/dataplane/native/addon.ts'
import { createNativeEngine } from '../../../proxy/dataplane/native/engine.ts'
import { createServerCarrier } from '../../../proxy/dataplane/native/serving/sessions.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import { type Log, type LogFields, silentLog } from '../../../proxy/model/log.ts'
import type { GlobalService, Settings } from '../../../proxy/model/service.ts'
import { type Clock, systemClock } from '../../../proxy/model/time/clock.ts'
import type { ClusterIdentity } from '../../../proxy/model/tunnel/identity.ts'
import type { TunnelStream } from '../../../proxy/model/tunnel/tunnels.ts'
import { Credentials, type CredentialsSource } from '../../../proxy/tunnel/certificates/credentials.ts'
import { TunnelClient } from '../../../proxy/tunnel/client/tunnel-client.ts'
import { Issuer } from '../../../proxy/tunnel/enrolment/issuer.ts'
import type { GatewayOptions } from '../../../proxy/tunnel/gateway/context.ts'
import { Gateway } from '../../../proxy/tunnel/gateway/gateway.ts'
import { Offers } from '../../../proxy/tunnel/gateway/offers.ts'
import { FakeChooser } from '../chooser.ts'
import { eventually } from '../eventually.ts'
import { backend as backendOf, clusterService, FakeDirectory, globalService } from '../model.ts'
import { folderFor, idOf, TunnelAuthority } from './certificates.ts'

export interface Line {
  readonly event: string
  readonly fields: LogFields | undefined
}

export function recordingLog(lines: Line[]): Log {
  const note = (event: string, fields?: LogFields) => void lines.push({ event, fields })
  return { debug: note, info: note, warn: note, error: note }
}

export const gatewayOptions: GatewayOptions = {
  dial: { timeoutMs: 1000, attempts: 3 },
  idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
  drainMs: 300,
  limits: { sessions: 100, streams: 2000 },
}

/** One service of cluster-2 with these backends, all of cluster-2. */
export function sharedService(
  backends: readonly Backend[],
  settings: Partial<Settings> = {},
  name = 'rebel-base',
): GlobalService {
  const local = clusterService({ cluster: 'cluster-2', name })
  return globalService({
    name,
    local,
    settings,
    backends: backends.map(one => Object.freeze({ ...one, cluster: 'cluster-2', remote: false })),
  })
}

export interface GatewayRig {
  readonly gateway: Gateway
  readonly chooser: FakeChooser
  readonly directory: FakeDirectory
  readonly lines: Line[]
  readonly credentials: Credentials
  readonly port: number
  /** As `gateways` has it. */
  readonly at: { readonly host: string; readonly port: number; readonly text: string }
  stop(): void
}

export async function startGateway(
  t: Test,
  {
    folder = '',
    from = { folder },
    services,
    peers = [{ cluster: 'cluster-1', trustDomain: 'mesh.test', ids: [] }],
    options = gatewayOptions,
    host = '127.0.0.1',
    port = 0,
    authority,
    inPump = isServed,
    clock = systemClock,
    isShared = ({ settings }: GlobalService) => settings.global && settings.shared,
  }: {
    folder?: string
    /** Where its certificates come from, if not from a folder. */
    from?: CredentialsSource
    services: readonly GlobalService[]
    peers?: readonly ClusterIdentity[]
    options?: GatewayOptions
    host?: string
    port?: number
    /** The folder of an authority, with which it issues certificates. */
    authority?: string
    /** Its sessions are in a pump of its own; by default where {@link serveInPump} was called. */
    inPump?: boolean
    clock?: Clock
    isShared?: (service: GlobalService) => boolean
  },
): Promise<GatewayRig> {
  const lines: Line[] = []
  const log = recordingLog(lines)
  const chooser = new FakeChooser()
  const directory = new FakeDirectory(...services)
  const clusters = () => peers.map(({ cluster }) => cluster)
  const credentials = new Credentials({ from, clusters, clock, log })
  await credentials.start()
  const offers = new Offers('cluster-2', directory, isShared)
  const gateway = new Gateway({
    listen: { address: host, port },
    credentials,
    peers: () => peers,
    offers,
    issuer: authority === undefined ? undefined : new Issuer(authority, systemClock),
    chooser,
    options,
    carrier: inPump ? () => createServerCarrier(loadAddon()) : undefined,
    clock,
    log,
  })
  await gateway.start()
  const stop = () => {
    gateway.destroy()
    offers.close()
    credentials.close()
  }
  t.teardown(stop)
  const listening = gateway.address?.port ?? 0
  const at = { host, port: listening, text: `${host}:${listening}` }
  return { gateway, chooser, directory, lines, credentials, port: listening, at, stop }
}

let isCarried = false
let isServed = false

const addon = findAddon()
/** Who can carry the sessions of a gateway here: whether it is a pump. */
export const gatewayKinds: readonly { readonly inPump: boolean; readonly kind: string }[] =
  'addon' in addon && whyNotInPump(addon.addon.tunnels) === undefined
    ? [
        { inPump: false, kind: 'node:http2' },
        { inPump: true, kind: 'pump' },
      ]
    : [{ inPump: false, kind: 'node:http2' }]

/** From now on sessions of {@link startGateway} are in a pump of their own. */
export function serveInPump(): void {
  isServed = true
}

/** From now on tunnels of {@link startClient} are in the pump of an engine of their own. */
export function carryInPump(): void {
  isCarried = true
}

function carry(t: Test, tunnels: TunnelClient): void {
  const options = {
    dial: { timeoutMs: 1000, attempts: 3, budgetMs: 5000 },
    idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
    drainMs: 300,
    limits: { connections: 100, udpSessions: 100 },
  }
  const engine = createNativeEngine({
    chooser: new FakeChooser(),
    tunnels,
    options,
    clock: systemClock,
    log: silentLog,
  })
  t.teardown(() => engine.destroy())
}

export interface ClientRig {
  readonly client: TunnelClient
  readonly lines: Line[]
  readonly credentials: Credentials
  /** Resolves with an open stream to a backend, or rejects with the error of the dial. */
  dial(backend: Backend): Promise<TunnelStream>
  /** Resolves when a tunnel to any gateway is open. */
  open(): Promise<void>
}

export async function startClient(
  t: Test,
  {
    folder = '',
    from = { folder },
    gateways,
    identity = { cluster: 'cluster-2', trustDomain: 'mesh.test', ids: [] },
    onHealth = () => {},
    before = () => {},
  }: {
    /** Called with the client before it opens any tunnel. */
    before?: (client: TunnelClient) => void
    folder?: string
    from?: CredentialsSource
    gateways: readonly { readonly host: string; readonly port: number; readonly text: string }[]
    identity?: ClusterIdentity
    onHealth?: (cluster: string) => void
  },
): Promise<ClientRig> {
  const lines: Line[] = []
  const log = recordingLog(lines)
  const credentials = new Credentials({ from, clusters: () => [identity.cluster], clock: systemClock, log })
  await credentials.start()
  const client = new TunnelClient({
    credentials,
    cluster: 'cluster-1',
    clock: systemClock,
    random: Math.random,
    log,
    onHealth,
  })
  if (isCarried) carry(t, client)
  before(client)
  client.follow([{ identity, gateways }])
  t.teardown(() => {
    client.destroy()
    credentials.close()
  })
  return {
    client,
    lines,
    credentials,
    dial: backend =>
      new Promise((resolve, reject) => {
        client.dial(backend, { address: '127.0.0.1', port: 40_000 }, (error, stream) =>
          stream ? resolve(stream) : reject(error),
        )
      }),
    open: () =>
      eventually(() => {
        const states = client.views(identity.cluster)?.map(({ state, error }) => `${state} ${error ?? ''}`) ?? []
        if (!states.some(state => state.startsWith('open'))) throw new Error(states.join())
      }),
  }
}

/** The same backends as cluster-1 knows them. */
export function behindGateway(backends: Backends): Backend[] {
  return backends.map(({ address, port, protocol }) =>
    backendOf({ address, port, protocol, cluster: 'cluster-2', network: 'cluster-2' }),
  )
}

/** Certificates of both clusters by one authority, a gateway in front of `backends`, and the tunnels to it. */
export async function tunnelRig(t: Test, backends: Backends) {
  const authority = await TunnelAuthority.create()
  const folder = await mkdtemp(join(tmpdir(), 'starlane-tunnel-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const serverFolder = await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
  const clientFolder = await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  const server = await startGateway(t, { folder: serverFolder, services: [sharedService(backends)] })
  const client = await startClient(t, { folder: clientFolder, gateways: [server.at] })
  await client.open()
  return { authority, folder, serverFolder, clientFolder, server, client, backends: behindGateway(backends) }
}
