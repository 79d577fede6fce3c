/** A network namespace of its own for a run: no leftovers of former runs, no ports in use, no other traffic on loopback. */
import { spawnSync } from 'node:child_process'

const mark = 'STARLANE_BENCH_NAMESPACE'

/** Runs this process again inside one and ends with it. Comes back where that is not permitted, and inside. */
export function enterNamespace(): void {
  if (process.env[mark]) return
  const enter = ['--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
  if (process.getuid?.() !== 0 || spawnSync('unshare', [...enter, 'true']).status !== 0) {
    console.log('No network namespace of its own (that takes root, unshare and ip): former runs may disturb this one.')
    return
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}) // the one inside cleans up
  const { status } = spawnSync('unshare', [...enter, process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [mark]: 'yes' },
  })
  process.exit(status ?? 1)
}
