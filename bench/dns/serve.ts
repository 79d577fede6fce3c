/**
 * The server under load, as its own process: `starlane` with the mesh and the chain of a real installation, `native` the
 * same with the addon's sockets, or `bare`, which only sends encoded replies and gives the cost of Node itself.
 *
 *   node bench/dns/serve.ts starlane|native|bare PORT SERVICES CHANGES_PER_SECOND backends|ports
 */
import { createSocket } from 'node:dgram'
import { createBalancer } from '../../proxy/balancer/balancers.ts'
import { createChain } from '../../proxy/chain/chain.ts'
import { loadAddon } from '../../proxy/dataplane/native/addon.ts'
import { createDnsResponder } from '../../proxy/dns/responder.ts'
import { Mesh } from '../../proxy/mesh/mesh.ts'
import { silentLog } from '../../proxy/model/log.ts'
import type { ClusterService } from '../../proxy/model/service.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { addressOf, serviceName } from './names.ts'

const [kind = 'starlane', portText = '5300', servicesText = '5000', changesText = '0', changing = 'backends'] =
  process.argv.slice(2)
const port = Number(portText)
const services = Number(servicesText)

if (kind === 'bare') serveBare()
else await serveStarlane(Number(changesText))

process.on('SIGTERM', () => process.exit(0))

async function serveStarlane(changesPerSecond: number): Promise<void> {
  const clusters = [{ name: 'cluster-1', id: 1, local: true }]
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    services: 'all',
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  const sink = mesh.sink('cluster-1')
  sink.reset({
    services: Array.from({ length: services }, (_, i) => declaration(i, 0)),
    namespaces: [{ name: 'default', global: true }],
  })
  mesh.flush()
  const chain = createChain({
    plugins: [],
    balancer: openFlows => createBalancer('round-robin', { random: Math.random, openFlows }),
    directory: mesh.directory,
    clock: systemClock,
    log: silentLog,
  })
  const dns = createDnsResponder({
    directory: mesh.directory,
    visibility: chain,
    options: { listen: { address: '127.0.0.1', port } },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
    ...(kind === 'native' && { BatchSocket: loadAddon().BatchSocket }),
  })
  await dns.start()
  if (changesPerSecond === 0) return
  let turn = 0
  setInterval(() => {
    const i = turn++ % services
    sink.put(declaration(i, turn))
  }, 1000 / changesPerSecond)
}

/** Each revision is a change for the merge: of the backend alone, or of the records as well. */
function declaration(index: number, revision: number): ClusterService {
  const endpointPort = 8080 + (revision % 2)
  return {
    cluster: 'cluster-1',
    namespace: 'default',
    name: `service-${index}`,
    type: 'ClusterIP',
    headless: false,
    clusterIPs: [addressOf(index)],
    ports: [{ name: 'http', protocol: 'TCP', port: changing === 'ports' ? endpointPort : 80 }],
    annotations: { 'service.cilium.io/global': 'true' },
    labels: { revision: String(revision) },
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    endpoints: [
      {
        address: `10.200.${index >> 8}.${index & 255}`,
        ports: [{ name: 'http', protocol: 'TCP', port: endpointPort }],
        ready: true,
        serving: true,
        terminating: false,
      },
    ],
  }
}

/** Replies by the bytes after the id; unknown names get an empty NXDOMAIN. */
function serveBare(): void {
  const replies = new Map<string, Buffer>()
  for (let i = 0; i < services; i++) {
    const question = questionBytes(serviceName(i))
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...addressOf(i).split('.').map(Number)])
    const reply = Buffer.concat([Buffer.from([0, 0, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]), question, answer])
    replies.set(`\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00${question.toString('latin1')}`, reply)
  }
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
  socket.on('message', (message, from) => {
    const known = replies.get(message.toString('latin1', 2))
    const reply = Buffer.from(known ?? message)
    if (!known) {
      reply[2] = 0x85
      reply[3] = 0x83
    }
    reply[0] = message[0] as number
    reply[1] = message[1] as number
    socket.send(reply, from.port, from.address)
  })
  socket.bind(port, '127.0.0.1')
}

function questionBytes(name: string): Buffer {
  const labels = name.split('.').flatMap(label => [Buffer.from([label.length]), Buffer.from(label)])
  return Buffer.concat([...labels, Buffer.from([0, 0, 1, 0, 1])])
}
