import http from 'node:http';
import express from 'express';
import * as expressway from 'expressway';
import * as testing from 'expressway/testing';
import request from './request.cjs';

await request(expressway, testing, express, http);
