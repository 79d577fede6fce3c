/** Whom the benchmark compares: a direct connection, Starlane, HAProxy in TCP mode and nginx stream, over the same backends. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child } from './process.ts'

export interface Contender {
  readonly name: string
  /** What its row measures: where the load goes. */
  readonly port: number
  /** Undefined for the direct connection, which has no process of its own. */
  readonly child: Child | undefined
}

export function direct(port: number): Contender {
  return { name: 'direct', port, child: undefined }
}

/** What the backends serve, by path. */
export const bodies = { '/small': 100, '/large': 1024 * 1024 } as const
export type Body = keyof typeof bodies

/** nginx answers from memory or the page cache, so that the backends cost little and cost the same to everyone. */
export function startBackends(folder: string, ports: readonly number[]): Promise<Child> {
  const config = join(folder, 'backends.conf')
  chmodSync(folder, 0o755) // started by root, nginx reads its files as another user
  writeFileSync(join(folder, 'large'), Buffer.alloc(bodies['/large'], 'x'))
  writeFileSync(
    config,
    `daemon off; worker_processes 1; pid ${folder}/backends.pid; error_log ${folder}/backends.log;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;
  sendfile on; open_file_cache max=10;
  server { ${ports.map(port => `listen 127.0.0.1:${port} backlog=4096;`).join(' ')} root ${folder};
    location = /small { return 200 "${'x'.repeat(bodies['/small'])}"; } }
}
`,
  )
  return Child.start('nginx', ['-p', folder, '-e', join(folder, 'backends.log'), '-c', config], ports)
}

/** The whole product as users run it: manifests, health checks, the default plugins, metrics. */
export function startStarlane(folder: string, port: number, backends: readonly number[]): Promise<Contender> {
  const manifests = join(folder, 'manifests')
  mkdirSync(manifests)
  writeFileSync(
    join(manifests, 'bench.json'),
    JSON.stringify({ kind: 'List', apiVersion: 'v1', items: objects(port, backends) }),
  )
  const config = join(folder, 'starlane.yaml')
  writeFileSync(
    config,
    `cluster: bench
clusters: [{ name: bench, id: 1, source: { manifests: ./manifests } }]
dns: { listen: "127.0.0.1:${port + 10}", upstream: [] }
admin: { listen: "127.0.0.1:${port + 11}" }
proxy: { limits: { connections: 20000 } }
`,
  )
  const bin = fileURLToPath(new URL('../bin/starlane.js', import.meta.url))
  return contender('starlane', port, process.execPath, [bin, 'run', '-c', config])
}

function objects(port: number, backends: readonly number[]): object[] {
  const metadata = { name: 'bench', namespace: 'default', annotations: { 'service.cilium.io/global': 'true' } }
  return [
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { clusterIP: '127.0.0.1', ports: [{ name: 'http', port }] } },
    ...backends.map((backend, i) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `bench-${i}`, namespace: 'default', labels: { 'kubernetes.io/service-name': 'bench' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: backend }],
      endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
    })),
  ]
}

/** The engine by itself, over a list of backends taken in turn: what the rest of the product costs is the difference. */
export function startEngine(
  engine: 'streams' | 'native',
  port: number,
  backends: readonly number[],
): Promise<Contender> {
  const serve = fileURLToPath(new URL('serve.ts', import.meta.url))
  const args = [
    serve,
    `--engine=${engine}`,
    `--listen=127.0.0.1:${port}`,
    ...backends.map(b => `--backend=127.0.0.1:${b}`),
  ]
  return contender(`${engine} alone`, port, process.execPath, args)
}

export function startHaproxy(folder: string, port: number, backends: readonly number[]): Promise<Contender> {
  const config = join(folder, 'haproxy.cfg')
  writeFileSync(
    config,
    `global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  retries 3
listen bench
  bind 127.0.0.1:${port}
  balance roundrobin
${backends.map((b, i) => `  server s${i} 127.0.0.1:${b}`).join('\n')}
`,
  )
  return contender('haproxy', port, 'haproxy', ['-db', '-f', config])
}

export function startNginx(folder: string, port: number, backends: readonly number[]): Promise<Contender> {
  const config = join(folder, 'stream.conf')
  writeFileSync(
    config,
    `${streamModule()}daemon off; worker_processes 1; pid ${folder}/stream.pid; error_log ${folder}/stream.log;
events { worker_connections 16384; }
stream {
  upstream bench { ${backends.map(b => `server 127.0.0.1:${b};`).join(' ')} }
  server { listen 127.0.0.1:${port} backlog=4096; proxy_pass bench; proxy_connect_timeout 1s; proxy_timeout 1h; }
}
`,
  )
  return contender('nginx', port, 'nginx', ['-p', folder, '-e', join(folder, 'stream.log'), '-c', config])
}

/** Some builds have the stream module inside, Debian's loads it from a folder that only the binary knows. */
function streamModule(): string {
  const built = spawnSync('nginx', ['-V'], { encoding: 'utf8' }).stderr ?? ''
  const folder = /--modules-path=(\S+)/.exec(built)?.[1]
  return built.includes('--with-stream=dynamic') && folder ? `load_module ${folder}/ngx_stream_module.so;\n` : ''
}

async function contender(name: string, port: number, command: string, args: readonly string[]): Promise<Contender> {
  return { name, port, child: await Child.start(command, args, [port]) }
}
