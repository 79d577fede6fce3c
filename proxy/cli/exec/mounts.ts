/** A mount namespace of one command's own, in which single files stand for others. */
import { spawnSync } from 'node:child_process'
import { MeshError } from '../../model/error.ts'

/** `source` is seen in the place of `target`, by the command alone. */
export interface Cover {
  readonly source: string
  readonly target: string
}

/** What to run in place of a command, so that it sees the covers. */
export type Wrap = (command: readonly string[]) => [file: string, ...args: string[]]

// The loop ends at the first `--`; what follows takes the shell's place, with its process id, exit code and signals.
const script = 'set -e; while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'

/**
 * Tries which way the kernel allows, with the covers it is for. As root the namespace alone is enough; any other user
 * becomes root of a user namespace for the mounts, and itself again, without any capability, for the command.
 */
export function privateMounts(covers: readonly Cover[]): Wrap {
  const mounts = covers.flatMap(({ source, target }) => [source, target])
  const inShell = (command: readonly string[]) => ['sh', '-c', script, 'starlane', ...mounts, '--', ...command]
  const ways: Wrap[] = [
    command => ['unshare', '--mount', '--', ...inShell(command)],
    command => [
      ...(['unshare', '--user', '--map-root-user', '--mount', '--'] as const),
      ...inShell([
        'unshare',
        '--user',
        `--map-user=${process.getuid?.()}`,
        `--map-group=${process.getgid?.()}`,
        '--',
        ...command,
      ]),
    ],
  ]
  const refusals: string[] = []
  for (const way of ways) {
    const refusal = refusalOf(way)
    if (refusal === undefined) return way
    refusals.push(refusal)
  }
  throw new MeshError(
    'EXEC_NAMESPACE',
    `the kernel gives this user no mount namespace (${refusals.at(-1)}): run it as root, or allow user namespaces ` +
      '(sysctl user.max_user_namespaces and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0)',
  )
}

function refusalOf(way: Wrap): string | undefined {
  const [file, ...args] = way(['true'])
  const { error, status, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 10_000 })
  if (error)
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? 'there is no unshare here; it is a tool of Linux'
      : error.message
  return status === 0 ? undefined : stderr.trim().replaceAll('\n', '; ') || `unshare ended with ${status}`
}
