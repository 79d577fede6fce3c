/** The machine and the versions of what was measured: part of every result. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly congestionControl: string
  readonly node: string
  readonly haproxy: string
  readonly nginx: string
  readonly wrk: string
  readonly iperf3: string
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    congestionControl: file('/proc/sys/net/ipv4/tcp_congestion_control'),
    node: process.version,
    haproxy: version('haproxy', '-v', /version (\S+)/),
    nginx: version('nginx', '-v', /nginx\/(\S+)/),
    wrk: version('wrk', '-v', /^wrk (\S+)/),
    iperf3: version('iperf3', '--version', /^iperf (\S+)/),
  }
}

export const missing = 'not installed'

export function installed(command: string): boolean {
  return !spawnSync(command, ['-v']).error
}

/** The reason to leave something out; undefined where the command exists. */
export function notInstalled(command: string): string | undefined {
  return installed(command) ? undefined : `${command} is not installed`
}

function version(command: string, flag: string, pattern: RegExp): string {
  const { error, stdout, stderr } = spawnSync(command, [flag], { encoding: 'utf8' })
  return error ? missing : (pattern.exec(stdout + stderr)?.[1] ?? 'unknown')
}

function file(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

/** The machine as a list in Markdown. */
export function machineText({ cpu, cores, memoryGiB, kernel, congestionControl, node }: Machine): string {
  return `- CPU: ${cpu}, ${cores} cores, ${memoryGiB} GiB
- Kernel ${kernel}, congestion control ${congestionControl}
- Node ${node}`
}

/** Machine and versions in one line, for groups that were measured at different times. */
export function versionsText(machine: Machine): string {
  const { cpu, cores, memoryGiB, kernel, congestionControl, node, haproxy, nginx, wrk, iperf3 } = machine
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; kernel ${kernel}, congestion control ${congestionControl}; Node ${node}, HAProxy ${haproxy}, nginx ${nginx}, wrk ${wrk}, iperf3 ${iperf3}.`
}
