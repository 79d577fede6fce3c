/** Finds running Starlanes: by a list of addresses, by a DNS name with an address for each, or by a label of their Pods. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { endpointText } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { AdminClient, type AdminOptions, addAdminOptions, connectAdmin } from '../admin-client.ts'
import type { Io } from '../terminal/io.ts'

export interface ProcessOptions extends AdminOptions {
  readonly all?: boolean
  readonly selector: string
  readonly context?: readonly string[]
}

const defaultSelector = 'starlane.dev/component'
const defaultPort = 9911

export function addProcessOptions(command: Command): Command {
  return addAdminOptions(command)
    .option('--all', 'ask every Starlane: those of --admin, or else the Pods with the label')
    .option('--selector <label>', 'the label of the Pods, for --all', defaultSelector)
    .option('--context <context...>', 'contexts of the kubeconfig in which to look for Pods')
}

export const processHelp = `
Several processes: --admin takes a list, 10.0.0.1:9911,10.0.0.2:9911, and dns:NAME[:PORT] for every address of a name,
such as that of a headless Service. With --all and without --admin the Pods with the label are asked, through
"kubectl port-forward", in the current context or in each --context.`

export interface Processes {
  readonly clients: readonly AdminClient[]
  /** Ends the forwarded ports. */
  close(): void
}

/** Rejects if there is none. */
export async function findProcesses(options: ProcessOptions, io: Io): Promise<Processes> {
  const listed = options.admin ?? (options.config === undefined ? io.env.STARLANE_ADMIN : undefined)
  if (listed !== undefined && (listed.includes(',') || listed.startsWith('dns:'))) {
    const addresses = await Promise.all(listed.split(',').filter(Boolean).map(addressesOf))
    const clients = [...new Set(addresses.flat())].map(address => new AdminClient(address))
    return { clients, close: () => {} }
  }
  if (!options.all || options.admin !== undefined)
    return { clients: [await connectAdmin(options, io)], close: () => {} }
  return forwarded(options, io)
}

/** `dns:NAME[:PORT]` is every address of the name. */
async function addressesOf(text: string): Promise<string[]> {
  if (!text.startsWith('dns:')) return [text]
  const [name = '', port = String(defaultPort)] = text.slice('dns:'.length).split(/:(?=\d+$)/)
  try {
    const found = await lookup(name, { all: true })
    return found.map(({ address }) => endpointText(address, Number(port)))
  } catch (error) {
    throw new MeshError(
      'ADMIN_UNREACHABLE',
      `${name} has no address (${messageOf(error)}); give a headless Service's full name`,
    )
  }
}

interface Pod {
  readonly context: string | undefined
  readonly namespace: string
  readonly name: string
}

async function forwarded({ selector, context = [] }: ProcessOptions, io: Io): Promise<Processes> {
  const contexts = context.length > 0 ? context : [undefined]
  const pods = (await Promise.all(contexts.map(each => podsOf(each, selector)))).flat()
  if (pods.length === 0) {
    const where = context.length > 0 ? context.join(', ') : 'the current context'
    const message = `no running Pod in ${where} has the label ${selector}; give addresses with --admin, or --selector LABEL`
    throw new MeshError('ADMIN_UNREACHABLE', message)
  }
  const children: ChildProcess[] = []
  const close = () => {
    for (const child of children) child.kill()
  }
  const clients = await Promise.all(
    pods.map(pod =>
      forward(pod, children).then(
        address => [new AdminClient(address, `${pod.namespace}/${pod.name}`)],
        error => {
          io.stderr.write(`starlane: ${pod.namespace}/${pod.name}: ${messageOf(error)}\n`)
          return []
        },
      ),
    ),
  )
  if (clients.flat().length > 0) return { clients: clients.flat(), close }
  close()
  throw new MeshError('ADMIN_UNREACHABLE', `none of ${pods.length} Pods can be reached; see the lines above`)
}

async function podsOf(context: string | undefined, selector: string): Promise<Pod[]> {
  const args = [
    'get',
    'pods',
    '--all-namespaces',
    '-l',
    selector,
    '--field-selector',
    'status.phase=Running',
    '-o',
    'json',
  ]
  const { items } = JSON.parse(await kubectl([...contextArgs(context), ...args])) as {
    items: { metadata: { namespace: string; name: string } }[]
  }
  return items.map(({ metadata: { namespace, name } }) => ({ context, namespace, name }))
}

function contextArgs(context: string | undefined): string[] {
  return context === undefined ? [] : ['--context', context]
}

function kubectl(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('kubectl', args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      reject(new MeshError('ADMIN_UNREACHABLE', kubectlFault(error, stderr), { cause: error }))
    })
  })
}

function kubectlFault(error: Error, stderr: string): string {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
    ? 'kubectl is not installed; --all needs it to find Pods, or give addresses with --admin'
    : `kubectl: ${stderr.trim() || error.message}`
}

/** The local address that leads to the admin address of the Pod, on its loopback. */
function forward({ context, namespace, name }: Pod, children: ChildProcess[]): Promise<string> {
  const args = [...contextArgs(context), 'port-forward', '-n', namespace, `pod/${name}`, `:${defaultPort}`]
  const child = spawn('kubectl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  return new Promise((resolve, reject) => {
    let said = ''
    child.stderr.on('data', data => {
      said += data
    })
    createInterface(child.stdout).on('line', line => {
      const [, address] = /^Forwarding from (127\.0\.0\.1:\d+)/.exec(line) ?? []
      if (address !== undefined) resolve(address)
    })
    child.once('error', error => reject(new Error(kubectlFault(error, said))))
    child.once('exit', () => reject(new Error(`kubectl port-forward: ${said.trim() || 'it has ended'}`)))
  })
}
