// Runs a program that cargo has built for wasm32-wasip1: `node wasi.mjs PROGRAM [ARGUMENT..]`. The program may read this machine's files.
// Ends as the program does; a trap, such as a panic, is an error.

import { readFile } from "node:fs/promises";
import { argv, env, exit } from "node:process";
import { WASI } from "node:wasi";

const args = argv.slice(2);
const wasi = new WASI({ version: "preview1", args, env, preopens: { "/": "/" }, returnOnExit: true });
const module = await WebAssembly.compile(await readFile(args[0]));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
exit(wasi.start(instance));
