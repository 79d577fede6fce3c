/** Reads the stored results of `npm run bench:dns` as a group for plots and goals. */
import { existsSync, readFileSync } from 'node:fs'
import type { Machine } from './machine.ts'
import type { Group, Row, Table } from './table.ts'

interface DnsResults {
  readonly machine: Machine
  readonly at?: string
  readonly rounds: number
  readonly seconds: number
  readonly tables: readonly {
    readonly title: string
    readonly head: readonly string[]
    readonly rows: readonly string[][]
  }[]
}

/** Undefined where there are none. They hold medians only, so a row has one sample. */
export function readDns(file: string): Group | undefined {
  if (!existsSync(file)) return undefined
  const { machine, at = '', rounds, seconds, tables } = JSON.parse(readFileSync(file, 'utf8')) as DnsResults
  return {
    ...{ name: 'dns', title: 'DNS answers', at, machine, loadBefore: 0, rounds, seconds },
    tables: tables.map(({ title, head, rows }): Table => {
      const cpu = head.findIndex(cell => cell.startsWith('CPU'))
      return {
        key: `dns-${title}`,
        title: `DNS, ${title}`,
        how: '',
        columns: [{ key: 'cpuUs', title: head[cpu] ?? '', digits: 2 }],
        peers: rows.map(([name = '']) => name).filter(name => ['unbound', 'dnsmasq', 'coredns'].includes(name)),
        rows: rows.map((cells): Row => ({ name: cells[0] ?? '', samples: [{ cpuUs: Number(cells[cpu]) }] })),
      }
    }),
  }
}
