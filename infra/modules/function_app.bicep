// The application, on Flex Consumption. It verifies tokens itself: platform authentication would answer Event Grid's
// and Azure DevOps' deliveries with 401.
param name string
param location string
param tags object
param identityId string
param storageBlobUri string
@description('Empty: no network of ours.')
param subnetId string = ''
param privateNetwork bool
@description('What shared/settings.py and the function host read.')
param settings object
param maximumInstances int
@description('The identity that orders of the app, by its API: Azure CLI signs nobody in who sees nothing of the subscription.')
param operatePrincipal string
param logsId string

var roles = loadYamlContent('../rbac.yml').roles

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  // checkov:skip=CKV_AZURE_225: Flex Consumption scales to nothing; what is lost with a zone is tried again by timer and queue
  name: '${name}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_222: private endpoints are switched on by the parameter file (privateNetwork)
  // checkov:skip=CKV_AZURE_17: Event Grid, Azure DevOps and people have no client certificates; tokens and keys are verified by the app
  // checkov:skip=CKV_AZURE_212: Flex Consumption: no instance while nothing happens
  // checkov:skip=CKV_AZURE_213: Flex Consumption has no health check path; the alert application-silent watches
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storageBlobUri}deployments'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.12'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: 2048
        maximumInstanceCount: maximumInstances
        triggers: {
          http: {
            perInstanceConcurrency: 16
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      appSettings: [for setting in items(settings): {
        name: setting.key
        value: setting.value
      }]
    }
  }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-logs'
  scope: app
  properties: {
    workspaceId: logsId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

resource seen 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, 'operate', 'Reader')
  scope: app
  properties: {
    principalId: operatePrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
  }
}

output id string = app.id
output name string = app.name
output host string = app.properties.defaultHostName
