/**
 * Run by overlap.test.ts in a network namespace of its own, which is cluster-1; cluster-2 is another one at the end of a veth. The pod of
 * both has the address 10.0.0.7. Prints what was answered and what tcpdump has seen between them as one line of JSON.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { manifests } from '../../support/world.ts'

const starlane = fileURLToPath(new URL('../../../bin/starlane.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'starlane-overlap-'))
const [here, there, pod, vip] = ['10.200.0.1', '10.200.0.2', '10.0.0.7', '127.96.0.10']
const secret = 'the-plans-of-the-station'

/** A pod that says who it is, and sends a lot if it is asked to. */
const podSource = (name: string) => `
  require('node:http').createServer((request, response) => {
    response.setHeader('connection', 'close')
    response.end(request.url === '/large' ? '${secret}'.repeat(50000) : '${name} ${secret}')
  }).listen(8080, '${pod}', () => console.log('listening'))`

const children: ReturnType<typeof spawn>[] = []
const start = (command: string, args: readonly string[]) => {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  children.push(child)
  return child
}

try {
  // The other cluster is the namespace of its pod.
  const remote = start('unshare', [
    '-n',
    process.execPath,
    '-e',
    `process.stdin.once('data', () => {${podSource('there')}}); console.log('up')`,
  ])
  await once(remote.stdout, 'data')
  const inside = (...command: string[]) => ['-t', String(remote.pid), '-n', ...command]
  const ip = (...args: string[]) => execFileSync('ip', args)
  const ipThere = (...args: string[]) => execFileSync('nsenter', inside('ip', ...args))
  ip(
    'link',
    'add',
    'near',
    'mtu',
    '1280',
    'type',
    'veth',
    'peer',
    'name',
    'far',
    'mtu',
    '1280',
    'netns',
    String(remote.pid),
  )
  ip('addr', 'add', `${here}/24`, 'dev', 'near')
  ip('addr', 'add', `${pod}/32`, 'dev', 'lo')
  ip('link', 'set', 'near', 'up')
  ipThere('addr', 'add', `${there}/24`, 'dev', 'far')
  ipThere('link', 'set', 'lo', 'up')
  ipThere('addr', 'add', `${pod}/32`, 'dev', 'lo')
  ipThere('link', 'set', 'far', 'up')
  remote.stdin.write('go')
  await once(remote.stdout, 'data')
  const local = start(process.execPath, ['-e', podSource('here')])
  await once(local.stdout, 'data')

  const authority = await TunnelAuthority.create()
  await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
  for (const cluster of ['cluster-1', 'cluster-2']) {
    mkdirSync(join(folder, cluster))
    const service = {
      clusterIP: cluster === 'cluster-1' ? vip : '127.96.0.20',
      port: 80,
      targetPort: 8080,
      pods: [{ ip: pod }],
    }
    writeFileSync(
      join(folder, cluster, 'base.yaml'),
      manifests(service, 'rebel-base')
        .map(one => stringify(one))
        .join('---\n'),
    )
  }
  const source = (name: string) => ({ name, id: Number(name.at(-1)), source: { manifests: `./${name}` } })
  const common = { dns: { listen: '127.0.0.1:5353', upstream: [] }, admin: { listen: '127.0.0.1:9911' } }
  const gateways = [`${there}:15008`]
  writeFileSync(
    join(folder, 'one.yaml'),
    stringify({
      cluster: 'cluster-1',
      clusters: [source('cluster-1'), { ...source('cluster-2'), route: 'tunnel', gateways }],
      tunnel: { certificates: './proxy' },
      ...common,
    }),
  )
  writeFileSync(
    join(folder, 'two.yaml'),
    stringify({
      cluster: 'cluster-2',
      clusters: [source('cluster-2'), source('cluster-1')],
      gateway: { certificates: './gateway' },
      ...common,
    }),
  )
  const dump = start('tcpdump', ['-i', 'near', '-n', '-U', '-s', '0', '-w', join(folder, 'dump'), 'ip'])
  await once(dump.stderr, 'data')
  const gateway = start('nsenter', inside(process.execPath, starlane, 'gateway', '-c', join(folder, 'two.yaml')))
  const proxy = start(process.execPath, [starlane, 'run', '-c', join(folder, 'one.yaml')])
  for (const { stderr } of [gateway, proxy]) stderr.resume()
  const health = await eventually(async () => {
    const service = JSON.parse(await fetched('http://127.0.0.1:9911/v1/services/default/rebel-base')) as {
      backends: { cluster: string; health: string }[]
    }
    const found = service.backends.find(({ cluster }) => cluster === 'cluster-2')?.health
    if (found !== 'up') throw new Error(`${found}`)
    return found
  }, 30_000)

  const answers: Record<string, number> = {}
  for (let i = 0; i < 20; i++) {
    const [who = ''] = (await fetched(`http://${vip}/`)).split(' ')
    answers[who] = (answers[who] ?? 0) + 1
  }
  const bodies = await Promise.all(Array.from({ length: 4 }, () => fetched(`http://${vip}/large`)))
  const large = bodies.every(body => body === secret.repeat(50_000))
    ? 'whole'
    : bodies.map(({ length }) => length).join()
  const ended = once(dump, 'close')
  dump.kill('SIGINT')
  await ended

  const lines = execFileSync('tcpdump', ['-n', '-r', join(folder, 'dump')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const packets = [...lines.matchAll(/ IP (\S+) > (\S+): /g)]
  // The port of a client is any.
  const ends = packets.flatMap(([, from = '', to = '']) => [from, to]).map(end => end.replace(/\.(\d+)$/, ':$1'))
  const endpoints = [...new Set(ends.map(end => (end.startsWith(here) ? here : end)))].sort()
  const bytes = readFileSync(join(folder, 'dump'))
  const leaks = [secret, 'rebel-base', 'spiffe', 'cluster-1', 'GET /'].filter(word => bytes.includes(word))
  // Application data of TLS 1.3: type 23, version 3.3.
  const records = bytes.toString('latin1').split('\x17\x03\x03').length - 1
  console.log(JSON.stringify({ answers, large, packets: packets.length, endpoints, records, leaks, health }))
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}

function fetched(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, response => {
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve(text))
      response.on('error', reject)
    }).on('error', reject)
  })
}
