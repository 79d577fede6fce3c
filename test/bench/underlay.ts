// What the underlay costs: throughput, CPU time for each GB, and latency between pods in network namespaces, by route, VXLAN (with offloads
// and without, MTU 1500 and 9000) and WireGuard, side by side. `npm run bench:underlay` writes bench/results/underlay/README.md. Needs root.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Test } from 'tap'
import type { UnderlayOptions } from '../../proxy/underlay/plan.ts'
import { ensurePublicKey } from '../../proxy/underlay/wireguard/key.ts'
import { listFor, underlayOf, vxlan } from '../support/underlay/applied.ts'
import { type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../support/underlay/machines.ts'
import { ping } from '../support/underlay/traffic.ts'

interface Way {
  readonly name: string
  readonly mtu: number
  readonly mode: UnderlayOptions['mode']
  readonly offloads: boolean
}

const ways: readonly Way[] = [
  { name: 'direct', mtu: 1500, mode: 'direct', offloads: true },
  { name: 'direct, offloads off', mtu: 1500, mode: 'direct', offloads: false },
  { name: 'vxlan', mtu: 1500, mode: 'vxlan', offloads: true },
  { name: 'vxlan, offloads off', mtu: 1500, mode: 'vxlan', offloads: false },
  { name: 'wireguard', mtu: 1500, mode: 'wireguard', offloads: true },
  { name: 'direct', mtu: 9000, mode: 'direct', offloads: true },
  { name: 'vxlan', mtu: 9000, mode: 'vxlan', offloads: true },
]

interface Measured {
  readonly gigabits: number
  /** Seconds of CPU of both ends and of the programs between them, for each GB. */
  readonly cpuPerGb: number
  readonly latencyMs: number
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '3' } },
})
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]
const missing = whyNoUnderlay('ping', 'iperf3', 'ethtool', 'wg')
if (missing) throw new Error(missing)

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

async function measure(world: UnderlayWorld, { mode, offloads }: Way): Promise<Measured> {
  const [a1, b1] = [world.node('a1'), world.node('b1')]
  const nodes = [a1, b1]
  const underlays = await Promise.all(
    nodes.map(async node => {
      const device = mode === 'wireguard' ? `wgb${process.pid % 100_000}${node.name}` : 'starlane-vx'
      const keyFile = join(world.folder, node.name, 'wireguard.key')
      node.key = await ensurePublicKey(keyFile)
      return { node, device, underlay: underlayOf(node, { ...vxlan, mode, device, keyFile, port: portOf(mode) }) }
    }),
  )
  try {
    await Promise.all(underlays.map(({ node, underlay }) => underlay.apply(listFor(node, nodes))))
    for (const { node, device } of underlays) await setOffloads(node, device, offloads)
    const [address] = b1.podAddresses
    await ping(a1.pod, address, { seconds: 5 })
    return await traffic(a1, b1, address)
  } finally {
    for (const { node, device, underlay } of underlays) {
      await setOffloads(node, device, true)
      await underlay.remove()
    }
  }
}

function portOf(mode: Way['mode']): number {
  return mode === 'wireguard' ? 51_840 : 4789
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

async function traffic(a1: NodeMachine, b1: NodeMachine, address: string): Promise<Measured> {
  const server = b1.pod.start(['iperf3', '-s', '-1', '--forceflush'])
  await new Promise<void>(resolve => server.stdout.once('data', () => resolve()))
  const before = programSeconds()
  const text = await a1.pod.do(`iperf3 -J -c ${address} -t ${seconds}`)
  const programs = programSeconds() - before
  const { sum_received: received, cpu_utilization_percent: cpu } = (JSON.parse(text) as Iperf).end
  const ends = ((cpu.host_total + cpu.remote_total) / 100) * seconds
  const echo = await a1.pod.do(`ping -n -q -c 200 -i 0.005 ${address}`)
  const latencyMs = Number(/= [\d.]+\/([\d.]+)/.exec(echo)?.[1])
  return { gigabits: received.bits_per_second / 1e9, cpuPerGb: (ends + programs) / (received.bytes / 1e9), latencyMs }
}

/** The CPU time of all programs that carry WireGuard, in seconds (proc(5): clock ticks of 10 ms). */
function programSeconds(): number {
  const { stdout } = spawnSync('pgrep', ['-x', 'wireguard-go'], { encoding: 'utf8' })
  const ticks = stdout.split('\n').flatMap(pid => {
    if (pid === '') return []
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, each) => sum + each, 0) / 100
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
  const hasKernel = spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', 'wireguard']).status === 0
  const range = [Math.min(...load), Math.max(...load)].map(each => each.toFixed(1)).join(' to ')
  return `# Underlay: what each way costs

\`npm run bench:underlay\`: one TCP connection of iperf3 from a pod of one cluster to a pod of another, over veth and a bridge on one machine, medians of
${rounds} rounds of ${seconds} s, all ways in turn in each round. CPU time is that of iperf3 at both ends, with what the kernel does for it, and of wireguard-go;
latency is the mean of 200 pings. ${hasKernel ? 'WireGuard is that of the kernel.' : 'WireGuard is wireguard-go: this kernel has none.'}

The load of the machine was ${range} at the time${Math.max(...load) > 2 ? ': other work took most of it, so compare rows, and do not take them for what a machine can do' : ''}.

| way | MTU of the links | Gbit/s | CPU s per GB | latency, ms |
|---|---|---|---|---|
${rows.join('\n')}

The gateway tunnel, which runs in user space and carries connections instead of packets, is not in this run: [tunnel](../tunnel/README.md) measures it.
`
}
