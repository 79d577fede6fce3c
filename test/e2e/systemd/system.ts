/** A systemd of its own: process 1 of new namespaces, on this machine's files with a layer of memory over them. Needs root. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { eventually } from '../../support/eventually.ts'

const programs = [
  'systemctl',
  'systemd-analyze',
  'systemd-run',
  'dbus-daemon',
  'unshare',
  'nsenter',
  'ip',
  'dpkg-deb',
  'curl',
  'dig',
]
const systemd = '/lib/systemd/systemd'

/** Why no systemd can be started here, as far as that is known before it is tried. */
export function whyNoSystemd(): string | false {
  if (process.getuid?.() !== 0) return 'needs root: it mounts, and makes namespaces'
  const missing = [systemd, ...programs].find(name => !existsSync(name) && spawnSync('which', [name]).status !== 0)
  if (missing) return `there is no ${missing}`
  return controlGroups() === undefined ? 'no cgroup2 is mounted' : false
}

/** Where cgroup2 is mounted. */
function controlGroups(): string | undefined {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n')
  return mounts.map(line => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1]
}

/** $1: a folder, which gets the layer. Units of this machine are left out, but for those that come with systemd. */
const boot = `
mount --make-rprivate /
mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root && cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.service
: > etc/machine-id
printf '[Unit]\\nRequires=sysinit.target dbus.service\\nAfter=dbus.service\\n' > etc/systemd/system/test.target
mkdir outside && pivot_root . outside && umount -l outside
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin ${systemd} --unit=test.target --log-target=console
`

export class System {
  readonly #folder = mkdtempSync(join(tmpdir(), 'starlane-systemd-'))
  readonly #group = join(controlGroups() ?? '', `starlane-test-${process.pid}`)
  readonly #child: ChildProcess
  #said = ''

  private constructor() {
    mkdirSync(this.#group)
    const enter = `echo $$ > ${this.#group}/cgroup.procs; exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child sh -ec "$0" boot "$1"`
    this.#child = spawn('sh', ['-ec', enter, boot, this.#folder], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', text => {
        this.#said = `${this.#said}${text}`.slice(-4000)
      })
  }

  /** Rejects with what was said if it does not come up. */
  static async boot(): Promise<System> {
    const system = new System()
    try {
      await eventually(() => {
        if (system.#child.exitCode !== null) return
        assert.match(system.run('systemctl is-system-running || true'), /running|degraded/)
      })
      assert.equal(system.#child.exitCode, null, 'it has ended')
      system.run('systemctl log-target journal')
      return system
    } catch (error) {
      system.destroy()
      throw new Error(`systemd does not start here: ${system.#said}`, { cause: error })
    }
  }

  /** What a script prints that root runs there. Throws with its errors if it fails. */
  run(script: string): string {
    const { status, stdout, stderr } = spawnSync(
      'nsenter',
      ['-t', `${this.#init()}`, '-a', '--', 'sh', '-ec', script],
      {
        encoding: 'utf8',
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SYSTEMD_COLORS: '0' },
      },
    )
    if (status !== 0) throw new Error(`${script}: ${status}\n${stdout}${stderr}${this.journal()}`)
    return stdout.trim()
  }

  write(path: string, content: string | Uint8Array): void {
    const file = `/proc/${this.#init()}/root${path}`
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }

  read(path: string): string {
    return readFileSync(`/proc/${this.#init()}/root${path}`, 'utf8')
  }

  /** The last lines of what units have said. */
  journal(): string {
    return spawnSync('nsenter', ['-t', `${this.#init()}`, '-a', 'journalctl', '-o', 'cat', '-n', '12'], {
      encoding: 'utf8',
    }).stdout
  }

  /** A property of a unit. */
  property(unit: string, name: string): string {
    return this.run(`systemctl show -P ${name} ${unit}`)
  }

  /** Its process 1, as this machine numbers it. */
  #init(): number {
    const { pid } = this.#child
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))
  }

  destroy(): void {
    // unshare kills process 1 when it ends, and with it the namespace.
    this.#child.kill('SIGKILL')
    if (existsSync(join(this.#group, 'cgroup.kill'))) writeFileSync(join(this.#group, 'cgroup.kill'), '1')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** When all its processes have ended. */
  async removed(): Promise<void> {
    this.destroy()
    await eventually(() => removeGroup(this.#group))
  }
}

function removeGroup(group: string): void {
  if (!existsSync(group)) return
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(group, entry.name))
  rmdirSync(group)
}
