/** Pairs of processes that join two clusters: Starlane and its gateway, Starlane and a ztunnel, two HAProxies with mutual TLS between them. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { starlaneId } from '../../proxy/model/tunnel/identity.ts'
import { createAuthority, issue } from '../../proxy/runtime/tunnel/issuing.ts'
import { Child } from '../process.ts'
import { objects } from '../proxy/contenders.ts'
import type { Place } from '../proxy/place.ts'
import { notInstalled } from '../report/machine.ts'
import type { Row } from '../report/table.ts'
import { startZtunnel } from './ztunnel.ts'

export interface Pair {
  readonly name: string
  /** Where the load is sent. */
  readonly port: number
  /** All processes on the way, gateways too; undefined for the backend itself. */
  readonly child: { cpu(): number } | undefined
}

export interface Certificates {
  /** Of the side that dials, and of the gateway: `tls.crt`, `tls.key` and `ca.crt`. */
  readonly client: string
  readonly gateway: string
}

type Start = (name: string, backends: readonly number[], place: Place, certificates: Certificates) => Promise<Pair>

const relay = fileURLToPath(new URL('plain-relay.ts', import.meta.url))
const bin = fileURLToPath(new URL('../../bin/starlane.js', import.meta.url))

export const pairs = {
  'the backend itself': async (name, [port = 0]) => ({ name, port, child: undefined }),
  'starlane, direct': starlane({ engine: 'native', route: 'direct' }),
  'starlane, tunnel, native': starlane({ engine: 'native', route: 'tunnel' }),
  'starlane, tunnel, streams': starlane({ engine: 'streams', route: 'tunnel' }),
  'node:http2, a plain relay': plainRelay,
  'starlane, tunnel to a ztunnel': toZtunnel,
  haproxy,
} satisfies Readonly<Record<string, Start>>

export const peer = 'haproxy'

/** One that does not start becomes a row with the reason. */
export async function startPairs(
  among: readonly string[] | undefined,
  backends: readonly number[],
  place: Place,
  certificates: Certificates,
): Promise<readonly (Pair | Row)[]> {
  const started: (Pair | Row)[] = []
  for (const [name, begin] of Object.entries<Start>(pairs)) {
    if (among && !among.includes(name)) continue
    const pair = begin(name, backends, place, certificates)
    started.push(await pair.catch((error: Error) => ({ name, note: error.message, samples: [] })))
  }
  return started
}

/** Certificates of P-256 for both ends, by one authority. */
export async function makeCertificates(place: Place): Promise<Certificates> {
  const folder = place.folder('certificates')
  const authority = await createAuthority({ file: join(folder, 'ca'), name: 'bench', days: 1 })
  const made = { client: join(folder, 'client'), gateway: join(folder, 'gateway') }
  for (const [to, id] of [
    [made.client, starlaneId('bench.mesh', 'west', 'proxy')],
    [made.gateway, starlaneId('bench.mesh', 'east', 'gateway')],
  ] as const) {
    mkdirSync(to)
    await issue(authority, { file: join(to, 'tls'), name: 'bench', days: 1, id })
    copyFileSync(`${authority.file}.crt`, join(to, 'ca.crt'))
    // HAProxy reads the certificate and its key from one file.
    writeFileSync(
      join(to, 'both.pem'),
      readFileSync(join(to, 'tls.crt'), 'utf8') + readFileSync(join(to, 'tls.key'), 'utf8'),
    )
  }
  return made
}

/** Whole products on both sides: manifests, health checks, the default plugins, metrics. */
function starlane({ engine, route }: { engine: Engine; route: 'direct' | 'tunnel' }): Start {
  return async (name, backends, place, certificates) => {
    const gateway = route === 'tunnel' ? `127.0.0.1:${place.port()}` : undefined
    const pair = writePair(place, certificates, { backends, gateway, engine })
    const children = gateway ? [await begin(['gateway', '-c', pair.gatewayFile], () => isReady(pair.gatewayAdmin))] : []
    const near = await startNear(pair, engine, place)
    return { name, port: near.port, child: together([...children, near.child]) }
  }
}

/** The near side as above, with the engine `native`. */
async function toZtunnel(name: string, backends: readonly number[], place: Place): Promise<Pair> {
  const { gateway, child, certificates, identity } = await startZtunnel(place)
  const pair = writePair(place, { client: certificates, gateway: certificates }, { backends, gateway, identity })
  const near = await startNear(pair, 'native', place)
  return { name, port: near.port, child: together([child, near.child]) }
}

type Engine = 'native' | 'streams'

export interface PairFiles {
  readonly folder: string
  readonly clusters: string
  readonly certificates: Certificates
  readonly backends: readonly number[]
  readonly gatewayFile: string
  readonly gatewayAdmin: number
}

/** The configuration of the gateway of cluster east, whose backends are at these ports of 127.0.0.1. */
export function writePair(
  place: Place,
  certificates: Certificates,
  {
    backends,
    gateway,
    engine = 'native',
    identity = '',
  }: {
    readonly backends: readonly number[]
    readonly gateway: string | undefined
    /** Who carries the gateway's sessions. */
    readonly engine?: Engine
    /** Further fields of the cluster east. */
    readonly identity?: string
  },
): PairFiles {
  const folder = place.folder('pair')
  const gatewayAdmin = place.port()
  const gatewayFile = join(folder, 'gateway.yaml')
  // The address that the service has in its own cluster is of no use to others; nothing listens there.
  write(join(folder, 'east'), objects({ name: 'bench', address: '127.0.0.1', port: 1 }, { protocol: 'TCP', backends }))
  mkdirSync(join(folder, 'none'))
  const route = gateway === undefined ? '' : `, route: tunnel, gateways: ["${gateway}"]${identity}`
  const clusters = (west: string, way: string) => `clusters:
  - { name: west, id: 1, source: { manifests: ${west} } }
  - { name: east, id: 2, source: { manifests: ./east }${way} }
`
  writeFileSync(
    gatewayFile,
    `cluster: east
${clusters('./none', '')}admin: { listen: "127.0.0.1:${gatewayAdmin}" }
proxy: { engine: ${engine} }
gateway: { listen: "${gateway ?? '127.0.0.1:0'}", certificates: ${certificates.gateway}, limits: { streams: 20000 } }
`,
  )
  return { folder, clusters: clusters('./west', route), certificates, backends, gatewayFile, gatewayAdmin }
}

/** The proxy of cluster west; resolves once it knows that a backend is up. */
export async function startNear(
  { folder, clusters, certificates }: PairFiles,
  engine: Engine,
  place: Place,
): Promise<{ readonly port: number; readonly child: Child }> {
  const [port, admin, dns] = [place.port(), place.port(), place.port()]
  const file = join(folder, `${engine}.yaml`)
  const west = `west-${engine}`
  write(join(folder, west), objects({ name: 'bench', address: '127.0.0.1', port }, { protocol: 'TCP', backends: [] }))
  writeFileSync(
    file,
    `cluster: west
${clusters.replace('./west', `./${west}`)}dns: { listen: "127.0.0.1:${dns}", upstream: [] }
admin: { listen: "127.0.0.1:${admin}" }
proxy: { engine: ${engine}, limits: { connections: 20000 } }
tunnel: { certificates: ${certificates.client} }
`,
  )
  return { port, child: await begin(['run', '-c', file], async () => (await isReady(admin)) && isUp(admin)) }
}

function write(folder: string, items: readonly object[]): void {
  mkdirSync(folder)
  writeFileSync(join(folder, 'bench.json'), JSON.stringify({ kind: 'List', apiVersion: 'v1', items }))
}

function begin(args: readonly string[], ready: () => Promise<boolean>): Promise<Child> {
  return Child.start(process.execPath, [bin, ...args], [], ready)
}

async function isReady(admin: number): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => undefined)
  return answer?.ok ?? false
}

/** Whether the backends are known to be up: then the way to them is open. */
async function isUp(admin: number): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${admin}/v1/services/default/bench`).catch(() => undefined)
  return answer?.ok ? /"health":\s*"up"/.test(await answer.text()) : false
}

/** Without anything of Starlane but its windows. */
async function plainRelay(
  name: string,
  [backend = 0]: readonly number[],
  place: Place,
  certificates: Certificates,
): Promise<Pair> {
  const [port, gateway] = [place.port(), place.port()]
  const start = (side: string, at: number, to: number, folder: string) =>
    Child.start(process.execPath, [relay, side, String(at), String(to), folder], [at])
  const far = await start('far', gateway, backend, certificates.gateway)
  return { name, port, child: together([far, await start('near', port, gateway, certificates.client)]) }
}

/** TCP mode with one thread each, TLS 1.3 with a certificate of each side, and its defaults: sessions are resumed. */
async function haproxy(
  name: string,
  backends: readonly number[],
  place: Place,
  certificates: Certificates,
): Promise<Pair> {
  const reason = notInstalled('haproxy')
  if (reason) throw new Error(reason)
  const folder = place.folder('haproxy')
  const [port, gateway] = [place.port(), place.port()]
  const head = `global
  nbthread 1
  maxconn 7000
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  retries 3
`
  const tls = (side: string) =>
    `ssl crt ${join(side, 'both.pem')} ca-file ${join(side, 'ca.crt')} verify required ssl-min-ver TLSv1.3 ciphersuites TLS_AES_256_GCM_SHA384`
  const files = {
    gateway: `${head}listen gateway
  bind 127.0.0.1:${gateway} ${tls(certificates.gateway)}
  balance roundrobin
${backends.map((backend, i) => `  server s${i} 127.0.0.1:${backend}`).join('\n')}
`,
    near: `${head}listen near
  bind 127.0.0.1:${port}
  server gateway 127.0.0.1:${gateway} ${tls(certificates.client)}
`,
  }
  const children: Child[] = []
  for (const [file, text] of Object.entries(files)) {
    const config = join(folder, `${file}.cfg`)
    writeFileSync(config, text)
    children.push(await Child.start('haproxy', ['-db', '-f', config], [file === 'near' ? port : gateway]))
  }
  return { name, port, child: together(children) }
}

function together(children: readonly Child[]): { cpu(): number } {
  return { cpu: () => children.reduce((sum, child) => sum + child.cpu(), 0) }
}
