/**
 * The nftables table `inet starlane`, which decides what reaches the frontends' addresses.
 *
 *   guard      only open frontends are reached; everything else on their addresses is refused, TCP with a reset, UDP with ICMP
 *              port unreachable. Without it a socket on all addresses (0.0.0.0, ::) would answer there.
 *   redirect   also, a frontend's listener has a private port of its address and its clients are translated to that, so that
 *              Starlane takes no port from other sockets, nor they from Starlane.
 *
 * The table is replaced as a whole in one transaction, and only when a frontend opens or closes. Connections keep the translation
 * that they began with. Needs nft and NET_ADMIN.
 */
import type { Server } from 'node:net'
import { canonicalAddress, familyOf, type Protocol } from '../../model/address.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import { takeLock } from '../netns-lock.ts'
import { runCommand } from './command.ts'

const retryMs = 30_000
const lockName = 'starlane-nftables'

export interface OpenFrontend {
  readonly ip: string
  readonly port: number
  readonly protocol: Protocol
  /** Where its listener is bound: `port`, or a private port. */
  readonly boundPort: number
}

/** What the table is made of. */
export interface RuleInput {
  /** All frontends' addresses, those of closed ones too. Canonical. */
  readonly addresses: ReadonlySet<string>
  readonly open: readonly OpenFrontend[]
}

export interface PacketRulesParts {
  readonly mode: 'guard' | 'redirect'
  readonly clock: Clock
  readonly log: Log
  /** nftables' program; `nft` unless a test says otherwise. */
  readonly command?: string
}

export class PacketRules {
  readonly #parts: PacketRulesParts
  #input: () => RuleInput = () => ({ addresses: new Set(), open: [] })
  #lock: Server | undefined
  #active = false
  #starting: Promise<void> | undefined
  #running: Promise<void> | undefined
  #stale = false
  #problem: Problem | undefined
  #cancelRetry: () => void = () => {}
  #closed = false
  /** The table is another process's. */
  #released = false

  constructor(parts: PacketRulesParts) {
    this.#parts = parts
  }

  /** The table stands. */
  get active(): boolean {
    return this.#active
  }

  /** Listeners are to take private ports. */
  get redirects(): boolean {
    return this.#active && this.#parts.mode === 'redirect'
  }

  /** Why the table does not stand, or is not current. */
  problems(): Problem[] {
    return this.#problem ? [this.#problem] : []
  }

  /**
   * Makes an empty table, to see whether that can be done. Without it, Starlane goes on as if nothing were configured. `succeeds`:
   * the table of a predecessor stands, and stays until `changed` replaces it.
   */
  start(succeeds = false): Promise<void> {
    this.#starting ??= this.#start(succeeds)
    return this.#starting
  }

  /** A successor takes the table over: it stays as it is. */
  async release(): Promise<void> {
    this.#released = true
    this.#cancelRetry()
    await this.#running
    await new Promise<void>(resolve => (this.#lock ? this.#lock.close(() => resolve()) : resolve()))
    this.#lock = undefined
  }

  /** The successor has failed. */
  async reclaim(): Promise<void> {
    if (this.#active) this.#lock = await takeLock(lockName)
    this.#released = false
    await this.changed()
  }

  /** Takes the rules from `input` from now on. */
  follow(input: () => RuleInput): void {
    this.#input = input
  }

  /** What `follow` was given has changed. Runs that would overlap become one. Resolves when the table is current. */
  changed(): Promise<void> {
    if (!this.#active || this.#closed || this.#released) return Promise.resolve()
    this.#stale = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** Removes the table. Flows must have ended: the kernel no longer translates their packets. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancelRetry()
    await this.#starting
    await this.#running
    if (this.#active && !this.#released)
      await this.#nft('delete table inet starlane\n').catch(error => this.#failed(error))
    this.#active = false
    this.#lock?.close()
  }

  async #start(succeeds: boolean): Promise<void> {
    try {
      this.#lock = await takeLock(lockName)
      if (!this.#lock)
        throw new Error('another Starlane of this network namespace has the table; set it to none in one')
      if (!succeeds) await this.#nft(rulesText({ addresses: new Set(), open: [] }, this.#parts.mode))
      this.#active = true
    } catch (error) {
      this.#failed(error)
    }
  }

  async #run(): Promise<void> {
    while (this.#stale && !this.#closed) {
      this.#stale = false
      try {
        await this.#nft(rulesText(this.#input(), this.#parts.mode))
        this.#problem = undefined
      } catch (error) {
        this.#failed(error)
        this.#cancelRetry()
        this.#cancelRetry = this.#parts.clock.after(retryMs, () => void this.changed())
        return
      }
    }
  }

  async #nft(script: string): Promise<void> {
    const { stderr, failed } = await runCommand(this.#parts.command ?? 'nft', ['-f', '-'], script)
    if (failed) throw new Error(stderr.trim().split('\n')[0] || 'nft failed and gave no reason')
  }

  #failed(error: unknown): void {
    const why = messageOf(error)
    const { mode, log } = this.#parts
    const remedy = why.includes('not permitted')
      ? 'run as root with the capability NET_ADMIN (in a pod: capabilities.add)'
      : 'install nftables 0.9.6 or newer, or set it to none'
    const message = `the nftables table "inet starlane" cannot be set: ${why}; ${remedy}`
    if (message !== this.#problem?.message) log.error('nftables.failed', { mode, why: message })
    this.#problem = { code: 'NFTABLES', where: 'proxy.nftables', message }
  }
}

/** A script for `nft -f` that replaces the table by the one for these frontends. */
export function rulesText({ addresses, open }: RuleInput, mode: 'guard' | 'redirect'): string {
  const families = [4, 6] as const
  const elements = (lines: readonly string[]) => (lines.length > 0 ? ` elements = { ${lines.join(', ')} }` : '')
  const sets = families.flatMap(family => {
    const type = `ipv${family}_addr`
    const own = [...addresses].filter(address => familyOf(address) === family).map(checked)
    const ofFamily = open.filter(({ ip }) => familyOf(ip) === family)
    const keys = ofFamily.map(({ ip, port, protocol }) => `${checked(ip)} . ${protocol.toLowerCase()} . ${port}`)
    const targets = ofFamily.map(({ ip, boundPort }, i) => `${keys[i]} : ${ip} . ${boundPort}`)
    return [
      `set addresses${family} { type ${type};${elements(own)} }`,
      mode === 'guard'
        ? `set open${family} { type ${type} . inet_proto . inet_service;${elements(keys)} }`
        : `map ports${family} { type ${type} . inet_proto . inet_service : ${type} . inet_service;${elements(targets)} }`,
    ]
  })
  const header = (family: 4 | 6) => (family === 4 ? 'ip' : 'ip6')
  const port = (family: 4 | 6) => `${header(family)} daddr . meta l4proto . th dport`
  const translate = families.map(
    family => `meta l4proto { tcp, udp } dnat ${header(family)} to ${port(family)} map @ports${family}`,
  )
  const reached = (family: 4 | 6) => (mode === 'guard' ? `${port(family)} @open${family}` : 'ct status dnat')
  const guard = families.flatMap(family => {
    const ours = `${header(family)} daddr @addresses${family}`
    return [
      `${ours} meta l4proto { tcp, udp } ${reached(family)} accept`,
      // Only what opens a flow: replies to our own addresses as a client, and flows that drain, pass.
      `${ours} tcp flags & (syn | ack) == syn reject with tcp reset`,
      `${ours} meta l4proto udp ct direction original reject with icmpx type port-unreachable`,
    ]
  })
  const chain = (name: string, hook: string, rules: readonly string[]) =>
    `chain ${name} { type ${hook}; policy accept;\n    ${rules.join('\n    ')}\n  }`
  const chains = [
    ...(mode === 'redirect'
      ? [
          chain('prerouting', 'nat hook prerouting priority -100', translate),
          chain('output', 'nat hook output priority -100', translate),
        ]
      : []),
    chain('input', 'filter hook input priority 0', guard),
  ]
  return `add table inet starlane
delete table inet starlane
table inet starlane {
  ${[...sets, ...chains].join('\n  ')}
}
`
}

/** The script is built from addresses, so nothing else may get into it. */
function checked(address: string): string {
  if (canonicalAddress(address) === address) return address
  throw new MeshError('NFTABLES', `proxy.nftables: ${JSON.stringify(address)} is not an address`)
}
