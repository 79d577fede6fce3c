/** `starlane bundle`: an archive for those who help, with what they ask for first and without secrets. */
import { open } from 'node:fs/promises'
import { release } from 'node:os'
import { gzipSync } from 'node:zlib'
import { Command } from 'commander'
import { MeshError, messageOf } from '../../model/error.ts'
import { type AdminClient, type AdminOptions, connectAdmin } from '../admin-client.ts'
import { clusterOf } from '../kubernetes/kubectl.ts'
import type { Io } from '../terminal/io.ts'
import { readNamedFile } from '../terminal/named-file.ts'
import { fail } from '../terminal/output.ts'
import { bytesText, count } from '../terminal/table.ts'
import { version } from '../version.ts'
import { gatherFindings } from './check.ts'
import { Redactor } from './redact.ts'
import { findSecrets } from './secrets.ts'
import { type ArchiveFile, tar } from './tar.ts'

interface Options extends AdminOptions {
  readonly file?: string
  readonly context?: readonly string[]
  readonly kubeconfig?: string
  readonly flows: string
}

export function bundleCommand(io: Io, end: (code: number) => void): Command {
  return new Command('bundle')
    .summary('write a support archive, without secrets')
    .description(
      'Writes an archive with the configuration, status, services, metrics, the latest flows and the findings of "starlane check"; with ' +
        '--context also objects, events and logs of Starlane in Kubernetes. Passwords, tokens and keys are replaced by [redacted].',
    )
    .option('-c, --config <file>', 'the configuration; it also says where the running Starlane is')
    .option('--admin <address>', 'admin address of the running Starlane')
    .option('-f, --file <file>', 'the archive (default: starlane-bundle-TIME.tar.gz)')
    .option('--context <context...>', 'kubeconfig contexts in which Starlane is installed')
    .option('--kubeconfig <file>', 'the file with the contexts (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--flows <count>', 'how many of the latest flows, which name clients and services', '500')
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await bundle(io, options)))
}

const examples = `
Names and addresses of clusters, services and clients stay in it: read it before you hand it on (tar -xzf FILE).
Whatever cannot be had is named in errors.txt.

Examples:
  starlane bundle -c starlane.yaml
  starlane bundle -c starlane.yaml --flows 0 -f bundle.tar.gz
  starlane bundle --context kind-1 --context kind-2`

async function bundle(io: Io, options: Options): Promise<number> {
  if (!/^\d{1,6}$/.test(options.flows)) throw new MeshError('USAGE', `--flows ${options.flows} is not a number`)
  const redactor = new Redactor()
  const gathered = new Gathered(redactor)
  const { config: file } = options
  if (file !== undefined) {
    const text = await readNamedFile(file)
    // First, since what it leads to is removed from everything else.
    await findSecrets(text, file, io.env, redactor)
    gathered.add('configuration.yaml', redactor.yaml(text))
  }
  const { node } = process.versions
  const platform = `${process.platform}/${process.arch}`
  const when = new Date(io.clock.wall())
  gathered.json('version.json', { starlane: version, node, platform, kernel: release(), when: when.toISOString() })
  await gathered.from('check.json', () => gatherFindings(io, options))
  const admin = await connectAdmin(options, io).catch(() => undefined)
  if (admin) await gatherRunning(gathered, admin, Number(options.flows))
  for (const context of options.context ?? []) await gatherCluster(io, gathered, context, options.kubeconfig)
  const name = options.file ?? `starlane-bundle-${when.toISOString().slice(0, 19).replace(/[T:]/g, '-')}.tar.gz`
  const files = gathered.files()
  const bytes = gzipSync(tar(files, when.getTime()))
  try {
    await writePrivate(name, bytes)
  } catch (error) {
    return fail(io, `cannot write ${name}: ${messageOf(error)}; name another with --file`)
  }
  io.stdout.write(`${name}: ${count(files.length, 'file')}, ${bytesText(bytes.length)}\n`)
  const missing = gathered.errors.length
  if (missing > 0) io.stderr.write(`${count(missing, 'part')} could not be had; errors.txt in it says why\n`)
  return 0
}

async function gatherRunning(gathered: Gathered, admin: AdminClient, flows: number): Promise<void> {
  await gathered.from('status.json', () => admin.status())
  await gathered.from('services.json', () => admin.services())
  await gathered.from('running-configuration.json', () => admin.document('/v1/config'))
  await gathered.from('traffic.json', () => admin.traffic())
  await gathered.from('metrics.txt', () => admin.text('/metrics'))
  if (flows > 0) await gathered.from('flows.json', () => admin.flows(new URLSearchParams({ last: String(flows) })))
}

/** No Secrets are asked for. */
const questions: readonly (readonly [name: string, ...args: string[]])[] = [
  ['objects.yaml', '-n', 'starlane', 'get', 'daemonset,deployment,pod,configmap,service', '-o', 'yaml'],
  ['events.txt', '-n', 'starlane', 'get', 'events', '--sort-by=.lastTimestamp'],
  ['logs.txt', '-n', 'starlane', 'logs', '-l', 'starlane.dev/component', '--tail=2000', '--prefix'],
  ['nodes.txt', 'get', 'nodes', '-o', 'wide'],
]

async function gatherCluster(
  io: Io,
  gathered: Gathered,
  context: string,
  kubeconfig: string | undefined,
): Promise<void> {
  const cluster = clusterOf(context, kubeconfig, io.env)
  const folder = context.replace(/[^\w.-]+/g, '-').slice(-60)
  for (const [name, ...args] of questions) await gathered.from(`${folder}/${name}`, () => cluster.run(args))
}

class Gathered {
  readonly errors: string[] = []
  readonly #redactor: Redactor
  readonly #files: ArchiveFile[] = []

  constructor(redactor: Redactor) {
    this.#redactor = redactor
  }

  add(name: string, content: string): void {
    this.#files.push({ name: `starlane-bundle/${name}`, content })
  }

  json(name: string, value: unknown): void {
    this.add(name, `${this.#redactor.json(value)}\n`)
  }

  /** A text, YAML in a file of that name, or anything else as JSON. */
  async from(name: string, ask: () => Promise<unknown>): Promise<void> {
    try {
      const found = await ask()
      if (typeof found !== 'string') this.json(name, found)
      else this.add(name, name.endsWith('.yaml') ? this.#redactor.yaml(found) : this.#redactor.text(found))
    } catch (error) {
      this.errors.push(`${name}: ${messageOf(error)}\n`)
    }
  }

  /** All secrets are known by now: each file is gone through once more. */
  files(): ArchiveFile[] {
    const errors = this.errors.length > 0 ? [{ name: 'starlane-bundle/errors.txt', content: this.errors.join('') }] : []
    return [...this.#files, ...errors].map(({ name, content }) => ({ name, content: this.#redactor.text(content) }))
  }
}

/** For its owner alone; a file that exists is replaced only if it is a regular one. */
async function writePrivate(name: string, bytes: Buffer): Promise<void> {
  const file = await open(name, 'w', 0o600)
  try {
    await file.writeFile(bytes)
  } finally {
    await file.close()
  }
}
