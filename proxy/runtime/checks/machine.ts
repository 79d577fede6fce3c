/** What Starlane needs of the machine that it runs on: kernel, programs, capabilities, descriptors, connection tracking. */
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import type { Config } from '../../config/schema.ts'
import { runCommand } from '../../dataplane/frontends/command.ts'
import { findAddon } from '../../dataplane/native/addon.ts'
import { messageOf } from '../../model/error.ts'
import { descriptorLimit, descriptorShares, sumOf } from '../../model/limits/descriptors.ts'
import { type Finding, findingsAt } from './finding.ts'

export const thisMachine = 'this machine'

const at = findingsAt(thisMachine)

/** Of /proc; tests give their own. */
export type ReadText = (path: string) => string | undefined

export const readProc: ReadText = path => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** `config` is undefined before there is one: then only what every configuration needs is looked at. */
export async function checkMachine(
  config: Config | undefined,
  { read = readProc, platform = process.platform as string } = {},
): Promise<Finding[]> {
  const engine = engineFinding(config)
  if (platform !== 'linux') {
    const found = `${platform}: the engine streams, and loopback addresses as far as the system has them`
    return [at.warning('kernel', found, 'proxy.vips: { address, ports } needs one address only; see docs/laptop.md')]
  }
  return [
    at.good('kernel', `Linux ${release()} on ${process.arch}, Node ${process.versions.node}`),
    engine,
    descriptors(config),
    ...(await privileges(config, read)),
    connectionTracking(config, read),
  ]
}

function engineFinding(config: Config | undefined): Finding {
  const wanted = config?.proxy.engine ?? 'auto'
  if (wanted === 'streams') return at.good('engine', 'streams, as configured')
  const found = findAddon()
  if ('addon' in found) return at.good('engine', 'native')
  const remedy = 'run "npm run build:native" where a C++ compiler is, or set proxy.engine: streams'
  const text = `the native engine cannot be used: ${found.why}`
  return wanted === 'native' ? at.error('engine', text, remedy) : at.warning('engine', text, remedy)
}

/** A TCP connection has two, a UDP session one. */
function descriptors(config: Config | undefined): Finding {
  const { connections, udpSessions } = config?.proxy.limits ?? { connections: 10_000, udpSessions: 10_000 }
  const needed = 2 * connections + udpSessions + sumOf(descriptorShares())
  if (descriptorLimit === undefined) return at.skipped('descriptors', 'the limit is not known without /proc')
  if (descriptorLimit >= needed) return at.good('descriptors', `${descriptorLimit}, and at most ${needed} are used`)
  const text = `ulimit -n is ${descriptorLimit}, and proxy.limits allows flows that need ${needed}`
  return at.warning('descriptors', text, `raise it (LimitNOFILE=${needed} in the unit), or lower proxy.limits`)
}

/** CAP_NET_BIND_SERVICE, CAP_NET_ADMIN: bits of capabilities(7). */
const capabilities = { NET_BIND_SERVICE: 10, NET_ADMIN: 12 } as const

export function hasCapability(name: keyof typeof capabilities, read: ReadText = readProc): boolean {
  const [, hex = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(read('/proc/self/status') ?? '') ?? []
  return ((BigInt(`0x${hex}`) >> BigInt(capabilities[name])) & 1n) === 1n
}

async function privileges(config: Config | undefined, read: ReadText): Promise<Finding[]> {
  if (!config) return []
  const { anyip, nftables, vips } = config.proxy
  const needing = [...(anyip ? ['proxy.anyip'] : []), ...(nftables === 'none' ? [] : ['proxy.nftables'])]
  const found: Finding[] = []
  if (needing.length > 0) {
    const admin = hasCapability('NET_ADMIN', read)
    const remedy = 'run it as root, with AmbientCapabilities=CAP_NET_ADMIN, or with that capability in the container'
    const text = `${needing.join(' and ')} ${needing.length > 1 ? 'need' : 'needs'} NET_ADMIN, which this process lacks`
    found.push(
      admin ? at.good('capabilities', `NET_ADMIN, for ${needing.join(', ')}`) : at.error('capabilities', text, remedy),
    )
  }
  if (anyip) found.push(await program('ip', ['-V'], 'iproute2', 'proxy.anyip'))
  if (nftables !== 'none') found.push(await program('nft', ['--version'], 'nftables', 'proxy.nftables'))
  if (vips === 'clusterIP' && !anyip) {
    const text = 'proxy.vips: clusterIP without anyip: the ClusterIPs must be addresses of this machine already'
    found.push(at.warning('addresses', text, 'set proxy.anyip: true, or proxy.vips: { cidr: 127.96.0.0/16 }'))
  }
  return found
}

async function program(name: string, args: readonly string[], debian: string, who: string): Promise<Finding> {
  const found = await output(name, args)
  if ('text' in found) return at.good(name, found.text.split('\n')[0]?.trim() || 'installed')
  return at.error(name, `${who} needs the program ${name}, which does not run: ${found.why}`, `install ${debian}`)
}

/** What a program prints, or why it does not. */
export async function output(name: string, args: readonly string[]): Promise<{ text: string } | { why: string }> {
  try {
    const { stdout, stderr, failed } = await runCommand(name, args)
    return failed ? { why: `${name}: ${stderr.trim()}` } : { text: stdout }
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    return { why: isMissing ? `${name} is not installed` : messageOf(error) }
  }
}

/** With NAT or packet rules the kernel keeps an entry for every connection, and drops packets when the table is full. */
function connectionTracking(config: Config | undefined, read: ReadText): Finding {
  const number = (name: string) => Number(read(`/proc/sys/net/netfilter/nf_conntrack_${name}`) ?? Number.NaN)
  const [count, max] = [number('count'), number('max')]
  if (!(max > 0)) return at.good('conntrack', 'the kernel tracks no connections here')
  const { connections, udpSessions } = config?.proxy.limits ?? { connections: 10_000, udpSessions: 10_000 }
  const wanted = 2 * (connections + udpSessions)
  if (count > 0.8 * max) {
    const text = `${count} of ${max} entries are used; packets are dropped when all are`
    return at.error('conntrack', text, `sysctl -w net.netfilter.nf_conntrack_max=${2 * max}`)
  }
  if (max - count >= wanted) return at.good('conntrack', `${count} of ${max} entries are used`)
  const text = `${max - count} entries are free, and proxy.limits allows flows that need ${wanted}`
  return at.warning('conntrack', text, `sysctl -w net.netfilter.nf_conntrack_max=${count + 2 * wanted}`)
}
