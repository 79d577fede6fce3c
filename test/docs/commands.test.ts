/** Every command that the pages show is run by a test or marked with what it needs, and exists with its options. */
import { globSync, readFileSync } from 'node:fs'
import type { Command } from 'commander'
import t from 'tap'
import { definedCommands } from '../../scripts/reference/commands.ts'

interface Block {
  readonly page: string
  /** `tested: FILE…` or `needs: WHAT`. */
  readonly mark: string | undefined
  /** Commands, with lines that end in a backslash joined. */
  readonly lines: readonly string[]
}

const pages = ['README.md', ...globSync(['docs/*.md', 'deploy/**/*.md', 'plugins/**/README.md'])]
const blocks = pages.flatMap(page => blocksOf(page, readFileSync(page, 'utf8')))

function blocksOf(page: string, text: string): Block[] {
  return [...text.matchAll(/(?:<!-- ((?:tested|needs): .+) -->\n)?```(?:sh|bash|shell|console)\n([\s\S]*?)```/g)].map(
    ([, mark, body = '']) => ({ page, mark, lines: body.replaceAll('\\\n', ' ').split('\n').filter(isCommand) }),
  )
}

function isCommand(line: string): boolean {
  return line.trim() !== '' && !line.startsWith('#')
}

const program = await definedCommands()

t.test('each block of commands has a mark', async t => {
  t.ok(blocks.length > 15, 'blocks were found')
  for (const { page, mark, lines } of blocks) t.ok(mark, `${page}: ${lines[0]}`)
  for (const page of pages)
    t.notMatch(readFileSync(page, 'utf8'), /```\n(npx )?starlane /, `${page}: a block of commands is marked as sh`)
})

t.test('what is marked as tested is in a test: each command by its words', async t => {
  for (const { page, mark = '', lines } of blocks) {
    if (!mark.startsWith('tested: ')) continue
    const files = mark.split(' ').filter(word => word.endsWith('.test.ts'))
    t.ok(files.length > 0, `${page}: ${mark}`)
    const text = files.map(file => readFileSync(file, 'utf8')).join('\n')
    // This test executes the blocks of its page.
    if (files.includes('test/docs/start.test.ts')) {
      t.match(text, `'${mark.split('.test.ts ')[1]}'`, `${page}: ${mark}`)
      continue
    }
    for (const line of lines) for (const word of wordsOf(line)) t.ok(text.includes(word), `${page}: ${line}`)
  }
})

/** The command and those of it, such as `mesh certificates sign`; without Starlane, those of npm. */
function wordsOf(line: string): string[] {
  if (/^npm ci && npm (run )?/.test(line))
    return [line.replace(/^npm ci && npm (run )?/, '')].filter(it => it !== 'test')
  return commandsIn(line).flatMap(argv => find(argv).path.slice(1))
}

t.test('each command of Starlane exists, with its options', async t => {
  let count = 0
  for (const { page, lines } of blocks)
    for (const line of lines)
      for (const argv of commandsIn(line)) {
        count++
        t.equal(faultOf(argv), undefined, `${page}: starlane ${argv.join(' ')}`)
      }
  t.ok(count > 30, `${count} commands`)
})

t.test('a command that does not exist is found', async t => {
  t.match(faultOf(['mesh', 'conect', '--context', 'a']), /conect/)
  t.match(faultOf(['status', '--wiat']), /--wiat/)
  t.match(faultOf(['install', 'node-agent', '--image']), /--image/)
  t.match(faultOf(['explain']), /argument/)
  t.equal(faultOf(['exec', '--', 'curl', '--no-such-option']), undefined)
})

/** The arguments of each `starlane …` of a line: at its start, after npx, in $(…), behind a pipe, and what kubectl executes. */
function commandsIn(line: string): string[][] {
  const plain = line.replace(/\s#\s.*$/, '')
  return [...plain.matchAll(/(?:^|npx |\$\(|\| |-- )(?:\S+\/node bin\/starlane\.js|starlane) ([^|>)"]+)/g)].map(
    ([, rest = '']) => rest.trim().split(/\s+/),
  )
}

function find(argv: readonly string[]): {
  readonly path: string[]
  readonly command: Command
  readonly rest: string[]
} {
  let command: Command = program
  const path = [command.name()]
  let index = 0
  for (const word of argv) {
    const child: Command | undefined = command.commands.find(each => each.name() === word)
    if (!child) break
    command = child
    path.push(word)
    index++
  }
  return { path, command, rest: argv.slice(index) }
}

/** Why the line would be refused as wrong use; undefined if it would not. */
function faultOf(argv: readonly string[]): string | undefined {
  const { command, rest, path } = find(argv)
  if (command.commands.length > 0 && !rest.every(word => word.startsWith('-')))
    return `${path.join(' ')} has no command ${rest[0]}`
  let given = 0
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] ?? ''
    if (word === '--') return undefined
    if (!word.startsWith('-') || word === '-') {
      given++
      continue
    }
    const [name, value] = word.split('=')
    const option = command.options.find(({ long, short }) => long === name || short === name)
    if (!option) return `${path.join(' ')} has no option ${name}`
    if (!option.required || value !== undefined) continue
    i++
    if (rest[i] === undefined) return `${path.join(' ')}: ${name} needs a value`
  }
  const needed = command.registeredArguments.filter(({ required }) => required).length
  return given < needed ? `${path.join(' ')} needs ${needed} arguments` : undefined
}
