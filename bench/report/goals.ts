/** What Starlane wants to reach, against whom, and what bounds it where it does not: the text of the table of goals. */

export interface Goal {
  readonly what: string
  /** At most. */
  readonly limit: number
  /** `x` for a ratio, or the unit of the measured figure itself. */
  readonly unit: string
  readonly digits?: number
  /** Where it was measured. */
  readonly table: string
  readonly column?: string
  /** A ratio to the better of these rows; absent: the figure itself. */
  readonly against?: readonly string[]
  /** The row of the engine by itself, and that of the whole product. */
  readonly engine?: string
  readonly product?: string
  readonly bound: string
}

const native = { engine: 'native alone', product: 'starlane, native' }
const peers = ['haproxy', 'nginx']

export const goals: readonly Goal[] = [
  {
    what: 'CPU of a keep-alive request, to the better of HAProxy and nginx',
    ...{ limit: 0.9, unit: 'x', table: 'keep-alive', against: peers, ...native },
    bound: 'two reads, two writes and their wake-ups in the kernel: nine tenths of the cost, for everyone',
  },
  {
    what: 'CPU of a connection per request, to the better of HAProxy and nginx',
    ...{ limit: 1.05, unit: 'x', table: 'close', against: peers, ...native },
    bound: 'connect, accept and close in the kernel; ours is the decision on another thread and its wake-ups',
  },
  {
    what: 'bulk download, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'download', against: peers, ...native },
    bound: 'splice moves pages without a copy; what is left is TCP itself on both sides',
  },
  {
    what: 'bulk upload, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'upload', against: peers, ...native },
    bound: 'as for download',
  },
  {
    what: 'bulk download, to HAProxy told to splice',
    ...{ limit: 1.1, unit: 'x', table: 'download', against: ['haproxy, splice'], ...native },
    bound: 'the same system calls; the size of the pipe and of each move differ',
  },
  {
    what: 'bulk upload, to HAProxy told to splice',
    ...{ limit: 1.1, unit: 'x', table: 'upload', against: ['haproxy, splice'], ...native },
    bound: 'as for download',
  },
  {
    what: 'UDP, one datagram of 64 bytes under way for each of 64 clients, to nginx',
    ...{ limit: 0.7, unit: 'x', table: 'udp-single', against: ['nginx'], ...native },
    bound: 'each session has a socket of its own towards the backend, and one datagram at a time to read from it',
  },
  {
    what: 'UDP, 32 datagrams of 1200 bytes under way for each of 8 clients, to nginx',
    ...{ limit: 0.4, unit: 'x', table: 'udp-burst', against: ['nginx'], ...native },
    bound: 'segmented sends; smaller bursts gain less',
  },
  {
    what: 'a DNS answer, 100 names, to unbound',
    ...{
      limit: 0.85,
      unit: 'x',
      table: 'dns-100 names, 100 outstanding',
      against: ['unbound'],
      product: native.product,
    },
    bound: 'batches: with fewer questions under way, more system calls for each',
  },
  {
    what: 'a DNS answer, 5,000 names, to unbound',
    ...{
      limit: 0.85,
      unit: 'x',
      table: 'dns-5000 names, 100 outstanding',
      against: ['unbound'],
      product: native.product,
    },
    bound: 'as for 100 names',
  },
  {
    what: 'p99 latency at 30 % of the slowest one’s maximum, to the better of HAProxy and nginx',
    ...{ limit: 1, unit: 'x', table: 'latency-30', column: 'p99Us', against: peers, ...native },
    bound: 'on shared cores the scheduler: a difference of a tenth is noise',
  },
  {
    what: 'p99 latency at 60 %',
    ...{ limit: 1, unit: 'x', table: 'latency-60', column: 'p99Us', against: peers, ...native },
    bound: 'as at 30 %',
  },
  {
    what: 'user memory of an idle connection, to HAProxy',
    ...{ limit: 0.5, unit: 'x', table: 'idle', against: ['haproxy'], ...native },
    bound: 'the pump’s slot and what TypeScript remembers of the flow; the kernel’s sockets cost everyone the same',
  },
  {
    what: 'a decision in TypeScript, on JavaScript’s thread',
    ...{ limit: 4, unit: ' us', digits: 1, table: 'decision', ...native },
    bound:
      'three events and one command for each connection, and the system calls that wake the threads; the fewer connections wait at a time, the more wake-ups each pays',
  },
  {
    what: 'a choice among 10,000 frontends and 100,000 endpoints, to one among 10 and 100',
    ...{ limit: 1.05, unit: 'x', digits: 2, table: 'choice', against: ['10 frontends'], product: '10,000 frontends' },
    bound:
      'nothing is searched for: a flow comes with its frontend. All of them in turn miss the caches of the processor',
  },
]
