/** Runs the benchmark in a network namespace of its own: free ports, no other loopback traffic, nothing left of earlier runs. */
import { spawnSync } from 'node:child_process'

const mark = 'STARLANE_BENCH_NAMESPACE'

/** Whether {@link enterNamespace} has entered one. */
export function isOwnNamespace(): boolean {
  return process.env[mark] !== undefined
}

/** Runs this program again inside a new namespace and exits with its status. Returns inside it, and where unshare is not permitted. */
export function enterNamespace(): void {
  if (process.env[mark]) return
  const enter = ['--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
  if (process.getuid?.() !== 0 || spawnSync('unshare', [...enter, 'true']).status !== 0) {
    console.log('No network namespace (needs root, unshare and ip): other traffic on loopback may disturb this run.')
    return
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}) // the inner process cleans up
  const { status } = spawnSync('unshare', [...enter, process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [mark]: 'yes' },
  })
  process.exit(status ?? 1)
}
