/** The servers compared, all with the same zone and one thread. */
import { spawnSync } from 'node:child_process'
import { Resolver } from 'node:dns/promises'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Child } from '../process.ts'
import { addressOf, serviceName } from './names.ts'

export interface Contender {
  readonly name: string
  readonly setup: string
  readonly port: number
  readonly child: Child
}

interface Kind {
  readonly name: string
  /** How it is configured, for the results. */
  readonly setup: string
  /** Writes its configuration into the folder; undefined when it is not installed. */
  command(folder: string, port: number): Promise<readonly string[] | undefined>
}

const serve = fileURLToPath(new URL('serve.ts', import.meta.url))

export function kinds(services: number, changesPerSecond: number): readonly Kind[] {
  const node = (name: string, setup: string, ...args: string[]): Kind => ({
    name,
    setup,
    command: async (_folder, port) => [
      process.execPath,
      serve,
      args[0] ?? '',
      String(port),
      String(services),
      args[1] ?? '0',
      args[2] ?? 'backends',
    ],
  })
  const changes = String(changesPerSecond)
  return [
    node('starlane', 'the mesh and the chain of a real installation, without plugins', 'starlane'),
    node(
      `starlane, ${changes} backends/s`,
      'as many services per second get another backend, which affects no record',
      'starlane',
      changes,
      'backends',
    ),
    node(
      `starlane, ${changes} services/s`,
      'as many services per second get another port, which drops all their answers',
      'starlane',
      changes,
      'ports',
    ),
    node('bare node:dgram', 'replies encoded beforehand: the cost of Node itself', 'bare'),
    {
      name: 'unbound',
      setup: 'local-data in a static local-zone, num-threads: 1',
      command: (folder, port) => unbound(folder, port, services),
    },
    {
      name: 'dnsmasq',
      setup: 'host-record, and local= for the zone',
      command: (folder, port) => dnsmasq(folder, port, services),
    },
    {
      name: 'coredns',
      setup:
        'plugin hosts, with an empty zone file for missing names, at a quarter of the cost of a full zone file; GOMAXPROCS=1, no log',
      command: (folder, port) => coredns(folder, port, services),
    },
  ]
}

/** On the PATH, or where STARLANE_COREDNS says. */
const corednsCommand = process.env.STARLANE_COREDNS ?? 'coredns'

/** Undefined when the program is not installed. */
export async function start(kind: Kind, folder: string, port: number): Promise<Contender | undefined> {
  const [command, ...args] = (await kind.command(folder, port)) ?? []
  if (command === undefined) return undefined
  const child = await Child.start(command, args, [])
  if (await answers(port)) return { name: kind.name, setup: kind.setup, port, child }
  throw new Error(`${kind.name} does not answer on port ${port}`)
}

async function answers(port: number): Promise<boolean> {
  const resolver = new Resolver({ timeout: 250, tries: 1 })
  resolver.setServers([`127.0.0.1:${port}`])
  for (let tries = 0; tries < 40; tries++) {
    const [address] = await resolver.resolve4(serviceName(1)).catch(() => [])
    if (address === addressOf(1)) return true
    await wait(250)
  }
  return false
}

async function unbound(folder: string, port: number, services: number): Promise<readonly string[] | undefined> {
  if (!installed('unbound', '-V')) return undefined
  const records = all(services, (name, address) => `  local-data: "${name}. 5 IN A ${address}"`)
  const file = join(folder, 'unbound.conf')
  await writeFile(
    file,
    `server:
  interface: 127.0.0.1@${port}
  do-daemonize: no
  num-threads: 1
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  pidfile: ""
  directory: "${folder}"
  local-zone: "cluster.local." static
${records}
`,
  )
  return ['unbound', '-d', '-c', file]
}

async function dnsmasq(folder: string, port: number, services: number): Promise<readonly string[] | undefined> {
  if (!installed('dnsmasq', '-v')) return undefined
  const records = all(services, (name, address) => `host-record=${name},${address}`)
  const file = join(folder, 'dnsmasq.conf')
  await writeFile(
    file,
    `port=${port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/cluster.local/\n${records}\n`,
  )
  return ['dnsmasq', '-k', '-C', file]
}

async function coredns(folder: string, port: number, services: number): Promise<readonly string[] | undefined> {
  if (!installed(corednsCommand, '-version')) return undefined
  await writeFile(
    join(folder, 'hosts'),
    all(services, (name, address) => `${address} ${name}`),
  )
  const zone =
    'cluster.local. 5 IN SOA ns.dns.cluster.local. h. 1 7200 1800 86400 5\ncluster.local. 5 IN NS ns.dns.cluster.local.\n'
  await writeFile(join(folder, 'zone'), zone)
  await writeFile(
    join(folder, 'Corefile'),
    `cluster.local:${port} {
  bind 127.0.0.1
  hosts ${join(folder, 'hosts')} {
    ttl 5
    fallthrough
  }
  file ${join(folder, 'zone')}
}
`,
  )
  return ['env', 'GOMAXPROCS=1', corednsCommand, '-conf', join(folder, 'Corefile')]
}

function all(services: number, line: (name: string, address: string) => string): string {
  return Array.from({ length: services }, (_, i) => line(serviceName(i), addressOf(i))).join('\n')
}

function installed(command: string, flag: string): boolean {
  return spawnSync(command, [flag]).error === undefined
}
