/** What the addon asks of the kernel for `proxy.offload: ebpf`: bpf(2) and sock_diag(7). Numbers below 0 are -errno. */
export interface KernelCalls {
  /** The compiled programs (`native/src/steering/steering.bpf.c`); undefined where there was no clang when the addon was built. */
  readonly object?: Buffer
  /** Why there are none. */
  readonly why: string
  /** A new map. */
  map(name: string, type: number, keySize: number, valueSize: number, entries: number, flags: number): number
  put(map: number, key: Buffer, value: Buffer): number
  drop(map: number, key: Buffer): number
  /** Writes into `value`. */
  get(map: number, key: Buffer, value: Buffer): number
  /** Writes the key after `key` into `into`, the first one for undefined. -ENOENT after the last. */
  next(map: number, key: Buffer | undefined, into: Buffer): number
  program(instructions: Buffer, attach: number, license: string): number
  /** What the kernel's verifier has against a program. */
  complaint(instructions: Buffer, attach: number, license: string): string
  /** A link of a program and a cgroup. */
  attach(program: number, cgroup: number, attach: number): number
  /** Puts another program in place of the link's. */
  replace(link: number, program: number): number
  pin(descriptor: number, path: string): number
  /** What is pinned there. */
  open(path: string): number
  /** A descriptor of a folder. */
  folder(path: string): number
  /** Writes the cookie of this network namespace, 8 bytes. */
  netns(into: Buffer): number
  /** A UDP socket, and its cookie, 8 bytes. */
  probe(into: Buffer): number
  connect(probe: number, ip: string, port: number): number
  /** Closes the sockets that were led to a backend and stand in the map `reverse`, and returns how many. `netns` '': the own one. */
  closeSockets(netns: string, protocol: number, ip: string, port: number, reverse: number): number
}
