// Every script of package.json says with --help how it is called, and does nothing else then.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { firstComment } from '../../scripts/command-line.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Steps of other commands, which take nothing. */
const steps = ['check', 'build:interop']

function programs(): string[] {
  const { scripts } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    scripts: Readonly<Record<string, string>>
  }
  const commands = Object.entries(scripts).filter(([name]) => !steps.includes(name))
  return [...new Set(commands.flatMap(([, text]) => /(?:bench|scripts|test)\/\S+\.ts/.exec(text)?.[0] ?? []))]
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(...args: string[]): Promise<Ended> {
  return new Promise(resolve => {
    execFile(process.execPath, args, { cwd: root, timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    )
  })
}

t.test('with --help a script prints its first comment', async t => {
  const all = programs()
  t.ok(all.length > 20, `${all.length} scripts`)
  for (const program of all) {
    const { code, stdout } = await run(program, '--help')
    const [first = ''] = firstComment(readFileSync(`${root}/${program}`, 'utf8')).split('\n')
    t.equal(code, 0, program)
    t.ok(first.length > 20 && stdout.startsWith(first), `${program}: ${stdout.slice(0, 80)}`)
  }
})

t.test('an option that it does not know ends it with 2, and its help', async t => {
  for (const program of ['bench/proxy.ts', 'scripts/upgrade.ts']) {
    const { code, stderr } = await run(program, '--rouns=3')
    t.equal(code, 2, program)
    t.match(stderr, /^Unknown option '--rouns'/)
    t.match(stderr, 'npm run')
  }
})

t.test('the first comment comes without its marks, and lines keep their indent', async t => {
  t.equal(
    firstComment('/**\n * One.\n *\n *     npm run it\n */\nconst a = 1 /** two */\n'),
    'One.\n\n    npm run it\n',
  )
  t.equal(firstComment('/** One. */\nimport 2\n'), 'One.\n')
  t.equal(firstComment('// One.\n//\n//     npm run it\nimport 2\n// three\n'), 'One.\n\n    npm run it\n')
  t.equal(firstComment('import 2\n'), '\n')
})
