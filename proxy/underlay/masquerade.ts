/**
 * The nftables table `inet starlane-underlay`: what pods of this node send keeps its address towards everything inside of the clusters, and
 * gets the address of the node towards everything outside. The chain comes before those of CNIs: a connection that has a translation,
 * be it to its own address, gets no other, so a CNI that would masquerade packets to pods of other clusters does not.
 */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import { parseCidr } from '../model/address.ts'
import { MeshError } from '../model/error.ts'

export const tableName = 'starlane-underlay'

/** The script that removes the table. */
export const noTable = `delete table inet ${tableName}\n`

export interface MasqueradeInput {
  /** The pod networks of this node. */
  readonly own: readonly string[]
  /** The pod networks and addresses of all nodes. */
  readonly inside: readonly string[]
}

/** A script for `nft -f` that replaces the table as a whole. Its comment tells whether the table is the one that it makes. */
export function masqueradeText({ own, inside }: MasqueradeInput): { script: string; mark: string } {
  const families = [
    [4, 'ip', 'ipv4_addr'],
    [6, 'ip6', 'ipv6_addr'],
  ] as const
  const texts = (list: readonly string[], family: 4 | 6) =>
    merged([...new Set(list)].flatMap(text => parseCidr(text) ?? []).filter(range => range.family === family))
  const set = (name: string, type: string, elements: readonly string[]) =>
    `  set ${name} { type ${type}; flags interval;${elements.length > 0 ? ` elements = { ${elements.join(', ')} }` : ''} }`
  const sets = families.flatMap(([family, , type]) => [
    set(`own${family}`, type, texts(own, family)),
    set(`inside${family}`, type, texts([...own, ...inside], family)),
  ])
  const rules = families.flatMap(([family, header]) => [
    `    ${header} saddr @own${family} ${header} daddr @inside${family} snat ${header} to ${header} saddr`,
    `    ${header} saddr @own${family} ${header} daddr != @inside${family} fib daddr type unicast oifname != "lo" masquerade`,
  ])
  const body = [
    ...sets,
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat - 10;',
    ...rules,
    '  }',
  ]
  const mark = createHash('sha256').update(body.join('\n')).digest('hex').slice(0, 16)
  const table = `table inet ${tableName}`
  const lines = [`${table} {}`, `delete ${table}`, `${table} {`, `  comment "${mark}"`, ...body, '}', '']
  return { script: lines.join('\n'), mark }
}

/** Without ranges that lie in others: nft refuses elements that overlap. */
function merged(ranges: readonly NonNullable<ReturnType<typeof parseCidr>>[]): string[] {
  const sorted = [...ranges].sort((a, b) => compareBytes(bytesOf(a.at(0)), bytesOf(b.at(0))) || a.bits - b.bits)
  const kept: typeof sorted = []
  for (const range of sorted) if (!kept.at(-1)?.contains(range.at(0))) kept.push(range)
  return kept.map(({ text }) => text)
}

const bytesOf = (address: string): Buffer => Buffer.from(ipaddr.parse(address).toByteArray())
const compareBytes = (a: Buffer, b: Buffer): number => Buffer.compare(a, b)

export interface Nft {
  /** The mark of the table that is there, undefined if there is none. */
  mark(): Promise<string | undefined>
  /** Rejects with UNDERLAY. */
  run(script: string): Promise<void>
}

/** `within`: a command that runs others, as `nsenter --net=FILE`. */
export function createNft(within: readonly string[] = []): Nft {
  const run = (args: readonly string[], input = ''): Promise<string> =>
    new Promise((resolve, reject) => {
      const [first = 'nft', ...rest] = [...within, 'nft', ...args]
      const path = [process.env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(':')
      const options = { timeout: 10_000, env: { ...process.env, LC_ALL: 'C', PATH: path } }
      const child = execFile(first, rest, options, (error, out, said) =>
        error ? reject(new MeshError('UNDERLAY', failureOf(error, said), { cause: error })) : resolve(out),
      )
      child.stdin?.on('error', () => {})
      child.stdin?.end(input)
    })
  return {
    mark: async () => {
      const shown = await run(['list', 'table', 'inet', tableName]).catch((error: MeshError) => {
        if (/No such file/.test(error.message)) return ''
        throw error
      })
      return shown === '' ? undefined : (/comment "([0-9a-f]{16})"/.exec(shown)?.[1] ?? 'another')
    },
    run: async script => void (await run(['-f', '-'], script)),
  }
}

function failureOf(error: Error & { code?: unknown }, said: string): string {
  if (error.code === 'ENOENT') return 'there is no program nft, which underlay.masquerade needs; install nftables'
  const why = said.trim().split('\n')[0] || error.message
  return `nft: ${why}${/not permitted/i.test(said) ? '; it needs root or the capability NET_ADMIN' : ''}`
}
