/** The backends behind the proxies: cheap, and the same for every contender. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { answersDatagrams, Child } from '../process.ts'
import type { Place } from './place.ts'
import { program } from './program.ts'

/** Length of each body that the HTTP backends serve, by path. */
export const bodies = { '/small': 100, '/large': 1024 * 1024, '/huge': 10 * 1024 * 1024 } as const
export type Body = keyof typeof bodies

/** One nginx on three ports, which answers from memory or the page cache. */
export async function startHttp(place: Place, workers = 1): Promise<readonly number[]> {
  const ports = [place.port(), place.port(), place.port()]
  const folder = place.folder('backends')
  const config = join(folder, 'backends.conf')
  for (const body of ['/large', '/huge'] as const) writeFileSync(join(folder, body), Buffer.alloc(bodies[body], 'x'))
  writeFileSync(
    config,
    `daemon off; worker_processes ${workers}; pid ${folder}/pid; error_log ${folder}/log;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;
  sendfile on; open_file_cache max=10;
  server { ${ports.map(port => `listen 127.0.0.1:${port} backlog=4096;`).join(' ')} root ${folder};
    location = /small { return 200 "${'x'.repeat(bodies['/small'])}"; } }
}
`,
  )
  await Child.start('nginx', ['-p', folder, '-e', join(folder, 'log'), '-c', config], ports)
  return ports
}

/** A single server, since the control and the data connection of iperf3 must reach the same one. */
export async function startIperf(place: Place): Promise<readonly number[]> {
  const port = place.port()
  await Child.start('iperf3', ['--server', '--bind', '127.0.0.1', '--port', String(port)], [port])
  return [port]
}

export async function startEcho(place: Place): Promise<readonly number[]> {
  const port = place.port()
  await Child.start(program('datagrams', place), ['echo', String(port)], [], () => answersDatagrams(port))
  return [port]
}

/** A load generator that is the server too. */
export async function startServing(generator: string, place: Place): Promise<readonly number[]> {
  const port = place.port()
  await Child.start(generator, ['serve', String(port)], [port])
  return [port]
}
