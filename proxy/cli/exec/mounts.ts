/** A mount namespace for one command, in which some files are replaced by others. */
import { spawnSync } from 'node:child_process'
import { MeshError } from '../../model/error.ts'

/** The command sees the file `source` at the path `target`. */
export interface Cover {
  readonly source: string
  readonly target: string
}

/** Turns a command into one that runs it with the covers mounted. */
export type Wrap = (command: readonly string[]) => [file: string, ...args: string[]]

// The loop ends at the first `--`. `exec` replaces the shell, so that the command has its process id, exit code and signals.
const script = 'set -e; while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'

/** The user and network namespaces of a process, as `nsenter` joins them: that process is root in them. */
export interface Within {
  readonly pid: number
}

/**
 * Finds a way that the kernel allows, by trying each with the covers. Root needs only a mount namespace. Another user also
 * needs a user namespace, in which it is root for the mounts and itself again, without capabilities, for the command. In the
 * namespaces of another process there is one way.
 */
export function privateMounts(covers: readonly Cover[], within?: Within): Wrap {
  const mounts = covers.flatMap(({ source, target }) => [source, target])
  const inShell = (command: readonly string[]) => ['sh', '-c', script, 'starlane', ...mounts, '--', ...command]
  const asItself = (command: readonly string[]) =>
    inShell([
      'unshare',
      '--user',
      `--map-user=${process.getuid?.()}`,
      `--map-group=${process.getgid?.()}`,
      '--',
      ...command,
    ])
  const ways: Wrap[] = within
    ? [
        command => [
          ...(['nsenter', `--target=${within.pid}`, '--user', '--net', '--preserve-credentials', '--'] as const),
          ...['unshare', '--mount', '--', ...asItself(command)],
        ],
      ]
    : [
        command => ['unshare', '--mount', '--', ...inShell(command)],
        command => ['unshare', '--user', '--map-root-user', '--mount', '--', ...asItself(command)],
      ]
  const refusals: string[] = []
  for (const way of ways) {
    const refusal = refusalOf(way)
    if (refusal === undefined) return way
    refusals.push(refusal)
  }
  throw noNamespace('mount', refusals.at(-1) ?? '')
}

/** The kernel, or what is installed, gives this user no namespace of that kind. */
export function noNamespace(kind: string, why: string): MeshError {
  return new MeshError(
    'EXEC_NAMESPACE',
    `this user cannot create a ${kind} namespace (${why}): run it as root, or allow user namespaces ` +
      '(sysctl user.max_user_namespaces and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0)',
  )
}

function refusalOf(way: Wrap): string | undefined {
  const [file, ...args] = way(['true'])
  const { error, status, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 10_000 })
  if (error)
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? 'unshare is not installed; exec works on Linux only'
      : error.message
  return status === 0 ? undefined : stderr.trim().replaceAll('\n', '; ') || `unshare exited with ${status}`
}
