// Loaded into every process of a coverage run: the native engine is the one that counts what is executed.
const load = process.dlopen
process.dlopen = (module, file, ...rest) =>
  load(module, file.replace('/native/build/', '/native/build-coverage/'), ...rest)
