#!/usr/bin/env node
'use strict';
const path = require('node:path');
const { run, root, isCheckout, SOURCE_FLAGS } = require('../scripts/runtime.cjs');

const entry = isCheckout() ? [...SOURCE_FLAGS, path.join(root, 'cli/main.ts')] : [path.join(root, 'dist/cli/main.js')];
run([...entry, ...process.argv.slice(2)]);
