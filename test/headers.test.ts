// The header rule: every source file opens with a comment whose first line says its purpose.
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'

const patterns = [
  ...['proxy', 'plugins', 'scripts', 'bench'].map(root => `${root}/**/*.ts`),
  'bench/load/*.{c,h}',
  'native/src/**/*.{cc,h}',
]

/** Files whose names say it all. */
const exceptions: readonly string[] = []

/** Words that a purpose takes at least. */
const least = 3

/** The first line of text in the comment that opens a file; undefined where it opens with anything else. */
function purposeOf(text: string): string | undefined {
  const opening = /^(?:#!.*\n)?\s*(?:((?:\/\/.*(?:\n|$))+)|\/\*([\s\S]*?)\*\/)/.exec(text)
  const lines = (opening?.[1] ?? opening?.[2] ?? '').split('\n')
  return lines.map(line => line.replace(/^[\s/*]+/, '').trim()).find(line => line !== '')
}

/** Whether a line is a phrase, and no directive of a tool, licence or tag. */
function saysPurpose(line: string | undefined): boolean {
  if (line === undefined || /^(@|biome-|eslint-|clang-|SPDX-|Copyright\b)/.test(line)) return false
  return (line.match(/[\p{L}\d][\p{L}\d'’./_-]*/gu) ?? []).length >= least
}

t.test('every source file opens with its purpose', async t => {
  const files = globSync(patterns).map(file => file.replaceAll('\\', '/'))
  const silent = files.filter(file => !saysPurpose(purposeOf(readFileSync(file, 'utf8'))))
  t.same(
    silent.filter(file => !exceptions.includes(file)).sort(),
    [],
    'put a comment on the first line that says what the file is for',
  )
  t.same(
    exceptions.filter(file => !silent.includes(file)),
    [],
    'an exception that is not needed goes',
  )
  t.ok(files.length > 250, 'the files were found')
})

t.test('what counts as a purpose', async t => {
  const good = [
    '/** Reads the answer of a server. */\nexport {}',
    '/**\n * Reads the answer of a server.\n */',
    '// Reads the answer of a server.\nimport x from "y"',
    '/*\n * Reads the answer of a server:\n *\n *     read FILE\n */',
    '#!/usr/bin/env node\n// Starts the command line.',
    '//\n// Ring buffers of shared memory.',
  ]
  for (const text of good) t.ok(saysPurpose(purposeOf(text)), text)
  const bad = [
    '',
    'import x from "y"\n/** Reads the answer of a server. */',
    'export const text = "// Reads the answer of a server"',
    '/** */\nexport {}',
    '// Answers.\nimport x from "y"',
    '// ---------------\n',
    '// biome-ignore lint/style/useConst: it is what it is',
    '/** @module one two three */',
    '#pragma once\n// Ring buffers of shared memory.',
  ]
  for (const text of bad) t.notOk(saysPurpose(purposeOf(text)), text)
})
