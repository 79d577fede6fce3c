/** Performance goals: the figure, its limit, the peers, and what limits it. The table of goals is made of these. */

export interface Goal {
  readonly what: string
  /** The largest value that meets the goal. */
  readonly limit: number
  /** `x` for a ratio, or the unit of the measured figure itself. */
  readonly unit: string
  readonly digits?: number
  /** Key of the table. */
  readonly table: string
  /** Key of the column; the first when absent. */
  readonly column?: string
  /** Rows to compare with: the value is a ratio to the better one. When absent it is the figure itself. */
  readonly against?: readonly string[]
  /** Names of the rows of the engine alone and of the whole product. */
  readonly engine?: string
  readonly product?: string
  readonly bound: string
}

const native = { engine: 'native alone', product: 'starlane, native' }
const peers = ['haproxy', 'nginx']

export const goals: readonly Goal[] = [
  {
    what: 'CPU of a keep-alive request, to the better of HAProxy and nginx',
    ...{ limit: 0.85, unit: 'x', table: 'keep-alive', against: peers, ...native },
    bound: 'two reads, two writes and their wake-ups in the kernel, for every proxy: see the bare relay',
  },
  {
    what: 'CPU of a connection per request, to the better of HAProxy and nginx',
    ...{ limit: 1, unit: 'x', table: 'close', against: peers, ...native },
    bound: 'connect, accept and close in the kernel; Starlane adds the decision on another thread and its wake-ups',
  },
  {
    what: 'CPU of a bulk download, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'download', against: peers, ...native },
    bound: 'splice moves pages without a copy; TCP itself remains on both sides',
  },
  {
    what: 'CPU of a bulk upload, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'upload', against: peers, ...native },
    bound: 'as for download',
  },
  {
    what: 'CPU of a 10 MiB body, 4 keep-alive connections, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'bodies-10', against: peers, ...native },
    bound: 'as for download; each body begins with a piece that is copied',
  },
  {
    what: 'CPU of a 1 MiB body, 8 keep-alive connections, to the better of HAProxy and nginx at their defaults',
    ...{ limit: 0.3, unit: 'x', table: 'bodies', against: peers, ...native },
    bound: 'as for bodies of 10 MiB; the start and the end of a transfer weigh more',
  },
  {
    what: 'CPU of a bulk download, to HAProxy with splice',
    ...{ limit: 1.1, unit: 'x', table: 'download', against: ['haproxy, splice'], ...native },
    bound: 'the same system calls; pipe size and bytes per call differ',
  },
  {
    what: 'CPU of a bulk upload, to HAProxy with splice',
    ...{ limit: 1.1, unit: 'x', table: 'upload', against: ['haproxy, splice'], ...native },
    bound: 'as for download',
  },
  ...(
    [
      ['exchange-both', 'messages of 64 KiB each way, one connection'],
      ['exchange-answers', 'answers of 64 KiB, 4 connections'],
      ['exchange-questions', 'questions of 64 KiB, 4 connections'],
    ] as const
  ).map(([table, shape]) => ({
    what: `median time of ${shape}, to the better of HAProxy and nginx`,
    ...{ limit: 1, unit: 'x', table, against: peers, ...native },
    bound: 'one more socket to read and to write, and two more threads to wake',
  })),
  {
    what: 'CPU of UDP, 64 clients with one datagram of 64 bytes in flight, to nginx',
    ...{ limit: 0.65, unit: 'x', table: 'udp-single', against: ['nginx'], ...native },
    bound:
      'each session has its own socket to the backend and reads one datagram at a time from it: see the bare relay',
  },
  {
    what: 'CPU of UDP, 8 clients with 32 datagrams of 1200 bytes in flight, to nginx',
    ...{ limit: 0.35, unit: 'x', table: 'udp-burst', against: ['nginx'], ...native },
    bound: 'a read of each datagram, and the kernel that cuts what UDP_SEGMENT sends: see the bare relay',
  },
  ...(
    [
      ['keep-alive', 'a keep-alive request'],
      ['close', 'a connection per request'],
      ['udp-single', 'UDP, one datagram in flight'],
      ['udp-burst', 'UDP, 32 datagrams in flight'],
    ] as const
  ).map(([table, what]) => ({
    what: `CPU of ${what}, to a bare relay in C with the same system calls`,
    ...{ limit: 1.1, unit: 'x', table, against: ['bare relay'], ...native },
    bound: 'what a relay costs that has no names, choice, limits, timeouts, health or metrics (bench/load/relay.c)',
  })),
  ...['100 outstanding', '20 outstanding', '100 clients'].map(shape => ({
    what: `CPU of a DNS answer, 100 names, ${shape}, to unbound`,
    ...{ limit: 0.8, unit: 'x', table: `dns-100 names, ${shape}`, against: ['unbound'], product: native.product },
    bound: 'batch size: fewer questions in flight mean more system calls per question',
  })),
  {
    what: 'CPU of a DNS answer, 5,000 names, 100 outstanding, to unbound',
    ...{ limit: 0.8, unit: 'x', table: 'dns-5000 names, 100 outstanding', against: ['unbound'] },
    ...{ product: native.product },
    bound: 'as for 100 names',
  },
  {
    what: 'p99 latency at 30 % of the slowest contender’s maximum, to the better of HAProxy and nginx',
    ...{ limit: 1, unit: 'x', table: 'latency-30', column: 'p99Us', against: peers, ...native },
    bound: 'the scheduler, on shared cores: a difference of 10 % is noise',
  },
  {
    what: 'p99 latency at 60 % of it',
    ...{ limit: 1, unit: 'x', table: 'latency-60', column: 'p99Us', against: peers, ...native },
    bound: 'as at 30 %',
  },
  {
    what: 'p99 of an echo beside four bulk transfers, to HAProxy',
    ...{ limit: 1, unit: 'x', table: 'fairness', against: ['haproxy'], ...native },
    bound: 'the scheduler: on two cores ten busy threads share them, and each round trip waits for four of them',
  },
  {
    what: 'the same, engine streams',
    ...{ limit: 1, unit: 'x', table: 'fairness', against: ['haproxy'] },
    ...{ engine: 'streams alone', product: 'starlane, streams' },
    bound: 'one thread for bytes and decisions; every read passes through JavaScript',
  },
  {
    what: 'user memory of an idle connection, to HAProxy',
    ...{ limit: 0.5, unit: 'x', table: 'idle', against: ['haproxy'], ...native },
    bound: 'state of the pump and of TypeScript per flow, and pages of the program that more connections touch',
  },
  {
    what: 'decision of the native engine on the JavaScript thread, per connection',
    ...{ limit: 4, unit: ' us', digits: 1, table: 'native-decision', ...native },
    bound:
      'three events and one command per connection, and the system calls that wake the threads; at low load each connection pays for more wake-ups',
  },
  {
    what: 'choose among 10,000 frontends and 100,000 endpoints, to 10 and 100',
    ...{ limit: 1.05, unit: 'x', digits: 2, table: 'choose', against: ['10 frontends'], product: '10,000 frontends' },
    bound:
      'there is no search, since a flow names its frontend; choosing for all frontends in turn misses the CPU caches',
  },
]
