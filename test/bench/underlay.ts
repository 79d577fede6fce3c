// What the underlay costs: throughput, CPU time for each GB, and latency between pods in network namespaces, by route, VXLAN (with offloads
// and without, MTU 1500 and 9000), Geneve, WireGuard and the gateway tunnel, side by side. `npm run bench:underlay` writes bench/results/underlay/README.md. Needs root.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createIpRoute } from '../../proxy/underlay/iproute.ts'
import type { UnderlayOptions } from '../../proxy/underlay/plan.ts'
import { ensurePublicKey } from '../../proxy/underlay/wireguard/key.ts'
import { commandLine } from '../../scripts/command-line.ts'
import { listFor, underlayOf, vxlan } from '../support/underlay/applied.ts'
import { type Machine, type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../support/underlay/machines.ts'
import { ping } from '../support/underlay/traffic.ts'
import { joinByTunnel, secondsOf } from './underlay-tunnel.ts'

interface Way {
  readonly name: string
  readonly mtu: number
  readonly mode: UnderlayOptions['mode'] | 'tunnel'
  readonly offloads: boolean
  /** What carries WireGuard; undefined: the kernel. */
  readonly program?: string
}

const hasKind = (...kind: string[]) =>
  spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', ...kind]).status === 0
const isInstalled = (program: string) => spawnSync(program, ['--version']).error === undefined

const { values } = commandLine(import.meta.url, {
  options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '3' } },
})
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]

const missing = whyNoUnderlay('ping', 'iperf3', 'ethtool', 'wg')
if (missing) throw new Error(missing)
const hasGeneve = hasKind('geneve', 'external')
const hasWireguard = hasKind('wireguard')
const programs = ['wireguard-go', 'boringtun-cli'].filter(isInstalled)

const ways: readonly Way[] = [
  { name: 'direct', mtu: 1500, mode: 'direct', offloads: true },
  { name: 'direct, offloads off', mtu: 1500, mode: 'direct', offloads: false },
  { name: 'vxlan', mtu: 1500, mode: 'vxlan', offloads: true },
  { name: 'vxlan, offloads off', mtu: 1500, mode: 'vxlan', offloads: false },
  ...(hasGeneve ? [{ name: 'geneve', mtu: 1500, mode: 'geneve' as const, offloads: true }] : []),
  ...(hasWireguard ? [{ name: 'wireguard, kernel', mtu: 1500, mode: 'wireguard' as const, offloads: true }] : []),
  ...(hasWireguard ? [] : programs).map(program => ({
    ...{ name: `wireguard, ${program}`, mtu: 1500, mode: 'wireguard' as const, offloads: true },
    program,
  })),
  { name: 'gateway tunnel', mtu: 1500, mode: 'tunnel', offloads: true },
  { name: 'direct', mtu: 9000, mode: 'direct', offloads: true },
  { name: 'vxlan', mtu: 9000, mode: 'vxlan', offloads: true },
  ...(hasGeneve ? [{ name: 'geneve', mtu: 9000, mode: 'geneve' as const, offloads: true }] : []),
  { name: 'gateway tunnel', mtu: 9000, mode: 'tunnel', offloads: true },
]

interface Measured {
  readonly gigabits: number
  /** Seconds of CPU of both ends and of the programs between them, for each GB. */
  readonly cpuPerGb: number
  readonly latencyMs: number
}

const ports = { iperf: 5201, echo: 7007 } as const

const cleanups: (() => unknown)[] = []
const scope = {
  teardown: (work: () => unknown) => cleanups.push(work),
  testdir: () => {
    const made = mkdtempSync(join(tmpdir(), 'bench-underlay-'))
    for (const cluster of ['cluster-1', 'cluster-2']) mkdirSync(join(made, cluster))
    return made
  },
} as unknown as Test

const load: number[] = []
const results = new Map<Way, Measured[]>(ways.map(way => [way, []]))
try {
  const worlds = new Map<number, UnderlayWorld>()
  for (const mtu of [1500, 9000]) {
    const world = await UnderlayWorld.start(scope, { mtu, nodesPerCluster: 1, routed: false })
    cleanups.push(() => rmSync(world.folder, { recursive: true }))
    cleanups.push(await echo(world.node('b1').pod))
    worlds.set(mtu, world)
  }
  for (let round = 0; round < rounds; round++) {
    for (const way of ways) {
      const world = worlds.get(way.mtu)
      if (!world) continue
      load.push(loadavg()[0] ?? 0)
      const measured = await measure(world, way)
      results.get(way)?.push(measured)
      console.log(way.mtu, way.name, measured)
    }
  }
} finally {
  for (const work of cleanups.reverse()) await work()
}
const folder = new URL('../../bench/results/underlay/', import.meta.url)
mkdirSync(folder, { recursive: true })
writeFileSync(new URL('README.md', folder), page())

async function measure(world: UnderlayWorld, way: Way): Promise<Measured> {
  return way.mode === 'tunnel' ? measureTunnel(world) : measureUnderlay(world, { ...way, mode: way.mode })
}

async function measureTunnel(world: UnderlayWorld): Promise<Measured> {
  const [a1, b1] = [world.node('a1'), world.node('b1')]
  const tunnel = await joinByTunnel(scope, world, [a1, b1], Object.values(ports))
  try {
    return await traffic(a1, b1, tunnel.address, () => tunnel.seconds())
  } finally {
    await tunnel.stop()
    rmSync(join(world.folder, 'tunnel'), { recursive: true })
  }
}

async function measureUnderlay(
  world: UnderlayWorld,
  { mode, offloads, program }: Way & { readonly mode: UnderlayOptions['mode'] },
): Promise<Measured> {
  const [a1, b1] = [world.node('a1'), world.node('b1')]
  const nodes = [a1, b1]
  const underlays = await Promise.all(
    nodes.map(async node => {
      const device = mode === 'wireguard' ? `wgb${process.pid % 100_000}${node.name}` : 'starlane-vx'
      const keyFile = join(world.folder, node.name, 'wireguard.key')
      node.key = await ensurePublicKey(keyFile)
      const iproute = createIpRoute(node.machine.prefix, program)
      const options = { ...vxlan, mode, device, keyFile, port: portOf(mode) }
      return { node, device, underlay: underlayOf(node, options, iproute) }
    }),
  )
  try {
    await Promise.all(underlays.map(({ node, underlay }) => underlay.apply(listFor(node, nodes))))
    for (const { node, device } of underlays) await setOffloads(node, device, offloads)
    const [address] = b1.podAddresses
    await ping(a1.pod, address, { seconds: 5 })
    return await traffic(a1, b1, address, programSeconds)
  } finally {
    for (const { node, device, underlay } of underlays) {
      await setOffloads(node, device, true)
      await underlay.remove()
    }
  }
}

function portOf(mode: UnderlayOptions['mode']): number {
  return { wireguard: 51_840, geneve: 6181, vxlan: 4789, direct: 4789 }[mode]
}

/** Checksums, segmentation and merging of segments, on every device that packets pass on a node. */
async function setOffloads({ machine, pod }: NodeMachine, device: string, on: boolean): Promise<void> {
  const features = ['tx', 'tso', 'gso', 'gro'].map(name => `${name} ${on ? 'on' : 'off'}`).join(' ')
  for (const name of ['eth0', 'pods', 'pod1', device]) await machine.do(`ethtool -K ${name} ${features} 2>&1 || true`)
  await pod.do(`ethtool -K eth0 ${features} 2>&1 || true`)
}

interface Iperf {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number; readonly bytes: number }
    readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number }
  }
}

async function traffic(
  a1: NodeMachine,
  b1: NodeMachine,
  address: string,
  secondsBetween: () => number,
): Promise<Measured> {
  // The way is open once this is answered.
  await roundTrips(a1.pod, address, 20)
  const server = b1.pod.start(['iperf3', '-s', '-1', '--forceflush'])
  await new Promise<void>(resolve => server.stdout.once('data', () => resolve()))
  const before = secondsBetween()
  const text = await a1.pod.do(`iperf3 -J -c ${address} -t ${seconds}`)
  const programs = secondsBetween() - before
  const { sum_received: received, cpu_utilization_percent: cpu } = (JSON.parse(text) as Iperf).end
  const ends = ((cpu.host_total + cpu.remote_total) / 100) * seconds
  const latencyMs = await roundTrips(a1.pod, address, 500)
  return { gigabits: received.bits_per_second / 1e9, cpuPerGb: (ends + programs) / (received.bytes / 1e9), latencyMs }
}

/** An echo for TCP. Resolves with how to stop it. */
async function echo(pod: Machine): Promise<() => void> {
  const code = `require('node:net').createServer(socket => {
    socket.setNoDelay(true).on('error', () => {}).pipe(socket)
  }).listen(${ports.echo}, '::', () => console.log('ready'))`
  const child = pod.start([process.execPath, '-e', code])
  await new Promise<void>(resolve => child.stdout.once('data', () => resolve()))
  return () => void child.kill('SIGKILL')
}

/** The mean of round trips of 64 bytes on one TCP connection, in milliseconds; it is tried until it is there. */
async function roundTrips(pod: Machine, address: string, count: number): Promise<number> {
  const code = `
    const attempt = () => {
      let left = ${count + 50}, began = 0
      const socket = require('node:net').connect(${ports.echo}, '${address}')
      socket.setNoDelay(true).on('error', () => setTimeout(attempt, 50))
      const send = () => socket.write(Buffer.alloc(64))
      socket.on('connect', send).on('data', () => {
        if (--left === ${count}) began = performance.now()
        if (left > 0) return send()
        console.log((performance.now() - began) / ${count})
        process.exit()
      })
    }
    attempt()`
  return Number(await pod.do(`exec timeout 20 ${process.execPath} -e "${code}"`))
}

/** The CPU time of all programs that carry WireGuard, in seconds. */
function programSeconds(): number {
  const { stdout } = spawnSync('pgrep', ['-x', 'wireguard-go|boringtun-cli'], { encoding: 'utf8' })
  return stdout.split('\n').reduce((sum, pid) => sum + (pid === '' ? 0 : secondsOf(pid)), 0)
}

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

function page(): string {
  const rows = ways.map(way => {
    const all = results.get(way) ?? []
    const of = (key: keyof Measured, digits: number) => middle(all.map(each => each[key])).toFixed(digits)
    return `| ${way.name} | ${way.mtu} | ${of('gigabits', 2)} | ${of('cpuPerGb', 2)} | ${of('latencyMs', 3)} |`
  })
  const lacks = [
    ...(hasGeneve ? [] : ['This kernel has no Geneve.']),
    ...(hasWireguard
      ? []
      : [
          `This kernel has no WireGuard: ${programs.join(' and ')} ${programs.length > 1 ? 'carry' : 'carries'} it in user space.`,
        ]),
  ].join(' ')
  const range = [Math.min(...load), Math.max(...load)].map(each => each.toFixed(1)).join(' to ')
  return `# Underlay: what each way costs

\`npm run bench:underlay\`: one TCP connection of iperf3 from a pod of one cluster to a pod of another, over veth and a bridge on one machine, medians of
${rounds} rounds of ${seconds} s, all ways in turn in each round. CPU time is that of iperf3 at both ends, with what the kernel does for it, and of the
programs between them (WireGuard in user space; with the gateway tunnel \`starlane run\` and \`starlane gateway\`); latency is the mean of 500 round trips of
64 bytes on one TCP connection. ${lacks}

The load of the machine was ${range}, with what the run itself takes${Math.max(...load) > 2 * cpus().length ? '; other work ran beside it, so compare rows, and do not take them for what a machine can do' : ''}.

| way | MTU of the links | Gbit/s | CPU s per GB | latency, ms |
|---|---|---|---|---|
${rows.join('\n')}

The gateway tunnel carries connections in HTTP/2 with mutual TLS, encrypted, between two processes in user space, and needs no pod network to be reached; a
way of the underlay carries every packet. [Tunnel](../tunnel/README.md) measures it against HAProxy.
`
}
