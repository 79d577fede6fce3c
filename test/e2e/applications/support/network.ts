/** The machines of a test: network and mount namespaces, each held by a process, and the links between them. */
import { spawnSync } from 'node:child_process'
import { Lines, run } from './processes.ts'

/** A network and a mount namespace of their own. */
export class Machine {
  readonly #holder: Lines

  private constructor(holder: Lines) {
    this.#holder = holder
  }

  static async start(): Promise<Machine> {
    const script = 'ip link set lo up && echo ready && exec sleep infinity'
    const holder = new Lines(['unshare', '--net', '--mount', 'sh', '-c', script])
    await holder.hear(/^ready$/)
    return new Machine(holder)
  }

  get id(): string {
    return `${this.#holder.child.pid}`
  }

  /** The command, run on this machine. */
  in(command: readonly string[]): string[] {
    return ['nsenter', '-t', this.id, '-n', '-m', '--', ...command]
  }

  async do(script: string): Promise<void> {
    await run(this.in(['sh', '-ec', script]))
  }

  /** Both get an interface of the name, with an address. */
  async link(other: Machine, name: string, own: string, theirs: string): Promise<void> {
    const far = `far-${name}`
    await this.do(`ip link add ${name} type veth peer name ${far} netns ${other.id}
      ip addr add ${own}/24 dev ${name}; ip link set ${name} up`)
    await other.do(`ip addr add ${theirs}/24 dev ${far}; ip link set ${far} up`)
  }

  stop(): Promise<unknown> {
    return this.#holder.kill()
  }
}

/** Why there can be no machines here. */
export function whyNoMachines(): string | undefined {
  const probe = ['--net', '--mount', 'ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far']
  return spawnSync('unshare', probe).status === 0 ? undefined : 'no network namespaces with a veth are allowed here'
}
