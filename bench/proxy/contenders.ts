/** The contenders: a direct connection, Starlane, HAProxy in TCP mode, nginx stream and a bare relay, all over the same backends. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { answersDatagrams, Child } from '../process.ts'
import { notInstalled } from '../report/machine.ts'
import type { Row } from '../report/table.ts'
import type { Place } from './place.ts'
import type { Setting } from './plan.ts'
import { program } from './program.ts'

export interface Contender {
  readonly name: string
  /** Where the load is sent. */
  readonly port: number
  /** Undefined for the direct connection, which has no process of its own. */
  readonly child: Child | undefined
}

/** What a measurement needs of a contender: where the load goes, and the CPU seconds of what carries it. */
export interface Measured {
  readonly port: number
  readonly child: { cpu(): number } | undefined
}

/** The backends that all of them forward to, in turn. */
export interface Target {
  readonly protocol: 'TCP' | 'UDP'
  readonly backends: readonly number[]
}

type Start = (name: string, target: Target, place: Place) => Promise<Contender>

export const contenders = {
  direct: async (name, { backends: [port = 0] }) => ({ name, port, child: undefined }),
  'starlane, streams': product({ engine: 'streams' }),
  'starlane, native': product({ engine: 'native' }),
  'starlane, native, no plugins': product({ engine: 'native', plugins: [] }),
  'streams alone': engine('streams'),
  'native alone': engine('native'),
  haproxy: haproxy(''),
  'haproxy, splice': haproxy('  option splice-request\n  option splice-response\n'),
  nginx,
  'bare relay': bareRelay,
} satisfies Readonly<Record<string, Start>>

export type Name = keyof typeof contenders

/** All that carry TCP, at their defaults. */
export const ofTcp: readonly Name[] = [
  'direct',
  'starlane, streams',
  'starlane, native',
  'streams alone',
  'native alone',
  'haproxy',
  'nginx',
]

/** Starts the contenders asked for; one that does not start becomes a row with the reason. */
export async function start(
  names: readonly Name[],
  target: Target,
  { place, among }: Setting,
): Promise<readonly (Contender | Row)[]> {
  const started: (Contender | Row)[] = []
  for (const name of asked(names, among)) {
    const begin: Start = contenders[name]
    started.push(await begin(name, target, place).catch((error: Error) => ({ name, note: error.message, samples: [] })))
  }
  return started
}

export function asked<Name extends string>(names: readonly Name[], among: Setting['among']): readonly Name[] {
  return among ? names.filter(name => among.includes(name)) : names
}

/** The whole product as users run it: manifests, health checks, the default plugins, metrics. */
function product({ engine, plugins }: { engine: string; plugins?: readonly string[] }): Start {
  return async (name, target, place) => {
    const port = place.port()
    const manifests = [objects({ name: 'bench', address: '127.0.0.1', port }, target)].flat()
    const child = await startProduct(
      place,
      manifests,
      `proxy: { engine: ${engine}, limits: { connections: 20000 } }
${plugins ? `plugins: ${JSON.stringify(plugins)}\n` : ''}`,
      target.protocol === 'UDP' ? () => answersDatagrams(port) : undefined,
    )
    return { name, port, child }
  }
}

/** Resolves when every configured frontend listens, and `answers` returns true. */
export function startProduct(
  place: Place,
  manifests: readonly object[],
  config: string,
  answers = async () => true,
): Promise<Child> {
  const folder = place.folder('starlane')
  const admin = place.port()
  mkdirSync(join(folder, 'manifests'))
  writeFileSync(
    join(folder, 'manifests', 'bench.json'),
    JSON.stringify({ kind: 'List', apiVersion: 'v1', items: manifests }),
  )
  const file = join(folder, 'starlane.yaml')
  writeFileSync(
    file,
    `cluster: bench
clusters: [{ name: bench, id: 1, source: { manifests: ./manifests } }]
dns: { listen: "127.0.0.1:${place.port()}", upstream: [] }
admin: { listen: "127.0.0.1:${admin}" }
${config}`,
  )
  const bin = fileURLToPath(new URL('../../bin/starlane.js', import.meta.url))
  return Child.start(process.execPath, [bin, 'run', '-c', file], [], async () => {
    const answer = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => undefined)
    return answer?.ok ? answers() : false
  })
}

interface ServiceAt {
  readonly name: string
  readonly address: string
  readonly port: number
}

/** A Service and its EndpointSlices. */
export function objects({ name, address, port }: ServiceAt, { protocol, backends }: Target): object[] {
  const metadata = { name, namespace: 'default', annotations: { 'service.cilium.io/global': 'true' } }
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { clusterIP: address, ports: [{ name: 'bench', protocol, port }] },
    },
    ...backends.map((backend, i) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-${i}`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'bench', protocol, port: backend }],
      endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
    })),
  ]
}

/** The engine by itself, over backends taken in turn; the difference to the product is what the rest of it costs. */
function engine(kind: 'streams' | 'native'): Start {
  return async (name, { protocol, backends }, place) => {
    const port = place.port()
    const child = await Child.start(
      process.execPath,
      [
        fileURLToPath(new URL('../serve.ts', import.meta.url)),
        `--engine=${kind}`,
        `--listen=127.0.0.1:${port}`,
        ...backends.map(backend => `--backend=127.0.0.1:${backend}`),
        ...(protocol === 'UDP' ? ['--udp'] : []),
      ],
      ...readyOn(protocol, port),
    )
    return { name, port, child }
  }
}

function haproxy(options: string): Start {
  return async (name, { backends }, place) => {
    const port = place.port()
    const config = join(place.folder('haproxy'), 'haproxy.cfg')
    writeFileSync(
      config,
      `global
  nbthread 1
  maxconn 7000
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  retries 3
listen bench
  bind 127.0.0.1:${port}
  balance roundrobin
${options}${backends.map((backend, i) => `  server s${i} 127.0.0.1:${backend}`).join('\n')}
`,
    )
    return { name, port, child: await Child.start('haproxy', ['-db', '-f', config], [port]) }
  }
}

async function nginx(name: string, { protocol, backends }: Target, place: Place): Promise<Contender> {
  const port = place.port()
  const folder = place.folder('nginx')
  const config = join(folder, 'stream.conf')
  const listen = protocol === 'UDP' ? `listen 127.0.0.1:${port} udp;` : `listen 127.0.0.1:${port} backlog=4096;`
  writeFileSync(
    config,
    `${streamModule()}daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/log;
events { worker_connections 16384; }
stream {
  upstream bench { ${backends.map(backend => `server 127.0.0.1:${backend};`).join(' ')} }
  server { ${listen} proxy_pass bench; proxy_connect_timeout 1s; proxy_timeout 1h; }
}
`,
  )
  const args = ['-p', folder, '-e', join(folder, 'log'), '-c', config]
  return { name, port, child: await Child.start('nginx', args, ...readyOn(protocol, port)) }
}

/** What the system calls alone cost; see load/relay.c. */
async function bareRelay(name: string, { protocol, backends }: Target, place: Place): Promise<Contender> {
  const port = place.port()
  const args = [protocol.toLowerCase(), port, ...backends].map(String)
  return { name, port, child: await Child.start(program('relay', place), args, ...readyOn(protocol, port)) }
}

/** How to wait for a proxy: for TCP until its port accepts, for UDP until a datagram comes back. */
function readyOn(protocol: Target['protocol'], port: number): [ports: number[], ready?: () => Promise<boolean>] {
  return protocol === 'UDP' ? [[], () => answersDatagrams(port)] : [[port]]
}

/**
 * The line that loads the stream module where it is a shared object, as in Debian's package. Throws where this nginx has no
 * stream module.
 */
function streamModule(): string {
  const reason = notInstalled('nginx')
  if (reason) throw new Error(reason)
  const { stderr } = spawnSync('nginx', ['-V'], { encoding: 'utf8' })
  const stream = /--with-stream(=dynamic)?(?:\s|$)/.exec(stderr)
  if (!stream) throw new Error('nginx was built without its stream module (--with-stream)')
  const folder = /--modules-path=(\S+)/.exec(stderr)?.[1]
  if (stream[1] === undefined || folder === undefined) return ''
  const file = `${folder}/ngx_stream_module.so`
  if (existsSync(file)) return `load_module ${file};\n`
  throw new Error(`nginx lacks its stream module ${file} (Debian: apt-get install libnginx-mod-stream)`)
}
