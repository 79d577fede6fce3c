/** One change of this machine, for iproute2 or wg. */

/** A line for `ip -batch` or `bridge -batch`, or arguments of `wg`. */
export interface Command {
  /** `device`: makes a WireGuard device, by the kernel or by a program. */
  readonly program: 'ip' | 'bridge' | 'wg' | 'device'
  readonly line: string
  readonly args?: readonly string[]
}

/** As people type it. */
export function commandText({ program, line }: Command): string {
  if (program !== 'device') return `${program} ${line}`
  return `ip link add dev ${line} type wireguard || wireguard-go ${line}`
}
