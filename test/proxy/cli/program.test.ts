/** The program as a whole: help, wrong usage, the bin, a reader that closes early. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { createProgram } from '../../../proxy/cli/program.ts'
import { type Io, processIo } from '../../../proxy/cli/terminal/io.ts'
import { runLine } from './stage.ts'

const commands = [
  'demo',
  'run',
  'gateway',
  'status',
  'services',
  'explain',
  'dns',
  'validate',
  'exec',
  'install',
  'inject',
  'mesh',
  'underlay',
]

t.test('every command is listed in the help, and has help of its own with examples', async t => {
  const all = await runLine(['--help'])
  t.equal(all.code, 0)
  t.equal(all.err, '')
  for (const command of commands) {
    t.match(all.out, new RegExp(`^  ${command} `, 'm'))
    for (const argv of [
      [command, '--help'],
      ['help', command],
    ]) {
      const { code, out } = await runLine(argv)
      t.equal(code, 0)
      t.match(out, new RegExp(`^Usage: starlane ${command} `))
      t.match(out, new RegExp(`Examples:\n  starlane .*${command}`))
      const narrow = (await runLine(argv, { columns: 80 })).out
      // Examples are commands, which are not cut.
      const long = narrow.split('\n').filter(line => line.length > 80 && !/^ {2}(starlane|npx|kubectl) /.test(line))
      t.same(long, [], `${command} --help fits in 80 columns`)
    }
  }
})

t.test('wrong usage exits with 2, and prints what is wrong and where the help is', async t => {
  const wrong: [argv: string[], says: RegExp][] = [
    [[], /^Usage: starlane/],
    [['stauts'], /unknown command 'stauts'[\s\S]*Did you mean status\?/],
    [
      ['status', '--contxt', 'x'],
      /unknown option '--contxt'[\s\S]*Did you mean --context\?[\s\S]*See: starlane status --help/,
    ],
    [['status', '-o', 'xml'], /Allowed choices are wide, yaml, json/],
    [['status', '--timeout', '5'], /"5" has no unit; write 5s or 5ms/],
    [['run'], /required option '-c, --config <file>'[\s\S]*See: starlane run --help/],
    [['explain'], /missing required argument 'service'/],
    [['services', 'a', 'b'], /too many arguments/],
    [['dns'], /missing required argument 'name'/],
    [['exec'], /missing required argument 'command'/],
    [['demo', 'scale', 'rebel-base'], /required option '--replicas <count>'[\s\S]*See: starlane demo scale --help/],
    [['demo', 'scale', 'rebel-base', '--replicas=-1', '--context', 'cluster-2'], /a number from 0 to 9/],
    [['help', 'nothing'], /Usage: starlane/],
  ]
  for (const [argv, says] of wrong) {
    const { code, out, err } = await runLine(argv)
    t.equal(code, 2, argv.join(' '))
    t.equal(out, '')
    t.match(err, says)
  }
})

t.test('the bin prints, and returns the exit code', async t => {
  const bin = (...argv: string[]) => spawnSync(process.execPath, ['bin/starlane.js', ...argv], { encoding: 'utf8' })
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.match(bin('--version'), { status: 0, stdout: `${version}\n`, stderr: '' })
  t.match(bin('nonsense'), { status: 2, stdout: '' })
  t.match(bin('services', '--admin', '127.0.0.1:1'), { status: 1, stdout: '', stderr: /ADMIN_UNREACHABLE/ })
})

t.test('a reader that closes the pipe early is not a failure', async t => {
  const child: ChildProcess = spawn(process.execPath, ['bin/starlane.js', '--help'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let err = ''
  child.stderr?.on('data', chunk => {
    err += chunk
  })
  child.stdout?.destroy()
  const code = await new Promise(resolve => child.once('close', resolve))
  t.equal(code, 0)
  t.equal(err, '')
})

t.test('a command line of one command loads that command, under its name', async t => {
  const silent = { write: () => {} }
  const io: Io = { ...processIo, stdout: silent, stderr: silent }
  const loaded = async (first?: string) =>
    (await createProgram(io, () => {}, first)).commands.map(command => command.name())
  const all = await loaded()
  for (const name of all) t.ok((await loaded(name)).includes(name), name)
  t.same(await loaded('run'), ['run'])
  t.same(await loaded('--version'), [])
  t.same(await loaded('constructor'), all, 'no word leads anywhere else')
})
