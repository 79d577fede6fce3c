/**
 * Engines whose backends are all behind a gateway, for the conformance suite: the gateway is in this process, and serves every
 * address that it is asked for. Where both ends are in pumps, the gateway has one of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Engine, EngineParts } from '../../../proxy/dataplane/engine.ts'
import { findAddon, loadAddon } from '../../../proxy/dataplane/native/addon.ts'
import { createServerCarrier } from '../../../proxy/dataplane/native/serving/sessions.ts'
import { createStreamsEngine } from '../../../proxy/dataplane/streams/engine.ts'
import type { Protocol } from '../../../proxy/model/address.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import type { Carrier, ServerCarrier } from '../../../proxy/model/tunnel/carrier.ts'
import type { Tunnels } from '../../../proxy/model/tunnel/tunnels.ts'
import { Credentials } from '../../../proxy/tunnel/certificates/credentials.ts'
import { TunnelClient } from '../../../proxy/tunnel/client/tunnel-client.ts'
import { Gateway } from '../../../proxy/tunnel/gateway/gateway.ts'
import { type Offer, Offers } from '../../../proxy/tunnel/gateway/offers.ts'
import type { Target } from '../../../proxy/tunnel/wire/target.ts'
import { FakeChooser } from '../chooser.ts'
import { eventually } from '../eventually.ts'
import { backend, clusterService, FakeDirectory, globalService } from '../model.ts'
import { createPaced } from '../paced-engine.ts'
import { folderFor, idOf, TunnelAuthority } from './certificates.ts'
import { gatewayOptions } from './rig.ts'

class AnyOffers extends Offers {
  override find(target: Target, protocol: Protocol): readonly Offer[] {
    if (!('address' in target)) return []
    const one = backend({ ...target, protocol, cluster: 'cluster-2', remote: false })
    const local = clusterService({ cluster: 'cluster-2', ports: [{ name: '', protocol, port: target.port }] })
    const service = globalService({ local, backends: [one] })
    const [frontend] = service.frontends
    return frontend ? [{ service, frontend: { ...frontend, backends: [one] } }] : []
  }
}

const folder = mkdtempSync(join(tmpdir(), 'starlane-tunnel-'))
const authority = await TunnelAuthority.create()
const identity = (cluster: string) => ({ cluster, trustDomain: 'mesh.test', ids: [] })
const read = async (name: string, id: string) => {
  const credentials = new Credentials({
    from: { folder: await folderFor(join(folder, name), authority, id) },
    clusters: () => [],
    clock: systemClock,
    log: silentLog,
  })
  await credentials.start()
  return credentials
}
const serverCredentials = await read('gateway', idOf('cluster-2', 'gateway'))
const clientCredentials = await read('proxy', idOf('cluster-1'))

const offers = new AnyOffers('cluster-2', new FakeDirectory(), () => true)
const startGateway = async (carrier?: () => ServerCarrier | undefined) => {
  const gateway = new Gateway({
    listen: { address: '127.0.0.1', port: 0 },
    credentials: serverCredentials,
    peers: () => [identity('cluster-1')],
    offers,
    chooser: new FakeChooser(),
    options: { ...gatewayOptions, limits: { sessions: 1000, streams: 100_000 } },
    carrier,
    clock: systemClock,
    log: silentLog,
  })
  await gateway.start()
  return gateway
}
const gateway = await startGateway()
const found = findAddon()
const pumped = 'addon' in found ? await startGateway(() => createServerCarrier(found.addon)) : gateway
const newClient = () =>
  new TunnelClient({
    credentials: clientCredentials,
    cluster: 'cluster-1',
    clock: systemClock,
    random: Math.random,
    log: silentLog,
    onHealth() {},
  })
const behind = ({ address }: Gateway) => {
  const port = address?.port ?? 0
  return [{ identity: identity('cluster-2'), gateways: [{ host: '127.0.0.1', port, text: `127.0.0.1:${port}` }] }]
}
/** Where the gateways of both kinds listen, on 127.0.0.1. */
export const gatewayPorts = [...new Set([gateway, pumped])].map(({ address }) => address?.port ?? 0)
const client = newClient()
client.follow(behind(gateway))
const isOpen = (client: TunnelClient) =>
  eventually(() => {
    const views = client.views('cluster-2')
    if (views?.[0]?.state !== 'open') throw new Error(JSON.stringify(views))
  })
await isOpen(client)

/** Backends of the tests are in any cluster. */
const through = (client: TunnelClient): Tunnels => ({
  carries: () => true,
  dial: ({ address, port }, from, done) => client.dialTo('cluster-2', address, port, from, done),
  link: (one, from, events) => client.link({ ...one, cluster: 'cluster-2' }, from, events),
})
const tunnels = through(client)

export function createTunnelledStreams(parts: EngineParts): Engine {
  return createStreamsEngine({ ...parts, tunnels })
}

export function createTunnelledNative(parts: EngineParts): Engine {
  return createPaced(loadAddon(), { ...parts, tunnels })
}

/** As {@link createTunnelledPump}, with three pumps: two of three connections go on in another one than the one that got them. */
export function createTunnelledPumps(parts: EngineParts): Engine {
  return createTunnelledPump({ ...parts, threads: 3 })
}

/** The tunnels are in the engine's own pump, and end with it. */
export function createTunnelledPump(parts: EngineParts): Engine {
  const own = newClient()
  const carryBy = (carrier: Carrier | undefined) => {
    if (!carrier) return own.destroy()
    own.carryBy(carrier)
    own.follow(behind(pumped))
  }
  const engine = createPaced(loadAddon(), { ...parts, tunnels: { ...through(own), carryBy } })
  const listen = engine.listen.bind(engine)
  // The clock of a test is moved by hand, and a dial would wait for the tunnel by that of the machine.
  engine.listen = async (...given) => {
    const listener = await listen(...given)
    await isOpen(own)
    return listener
  }
  return engine
}

export function closeTunnels(): void {
  client.destroy()
  for (const one of new Set([gateway, pumped])) one.destroy()
  offers.close()
  for (const credentials of [serverCredentials, clientCredentials]) credentials.close()
  rmSync(folder, { recursive: true, force: true })
}

/** What the suite should know of them: both ends, their windows and their sockets are in this process. */
export const tunnelledEngine = {
  source: new URL(import.meta.url),
  urgentBytes: 'lost',
  holds: 5 << 20,
  perRoundTrip: 24 << 20,
  alone: false,
} as const
